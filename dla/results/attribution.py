"""The result: how much each part contributed, and the proof that the parts add up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.decomposers.base import Decomposer, as_decomposer
from dla.decomposers.groups import Renaming, Selector
from dla.engine.forward import ForwardResult
from dla.engine.query import Query
from dla.engine.rules import Rule
from dla.inputs.given import Count, shown
from dla.inputs.spans import Spans
from dla.labels import Label
from dla.provenance import Provenance
from dla.results.attributed import run_of
from dla.results.attribution_table import ranked
from dla.results.axes import provenance_of, without_axes
from dla.results.choosing import PER_PLACE, of_prompt, summed
from dla.results.difference import Difference
from dla.results.grouped import grouped, over_spans
from dla.results.label_index import Kind, LabelIndex, Labels, Layer, OneLabel, chosen, place_of_direction, places_of
from dla.results.looks import Looks
from dla.results.outputs import Outputs
from dla.results.part import Part
from dla.results.question import Question
from dla.results.questions import Questions
from dla.results.refining import refined
from dla.results.rerun import Rerun
from dla.results.trace import trace
from dla.results.trace_back import trace_back
from dla.results.traced_positions import Pos


@final
@dataclass(frozen=True, eq=False, repr=False)
class Attribution(Questions, Looks, Outputs):
    """What each part of the model contributed to a logit, or to a difference of logits.

    All tensors are in logits. The axis of directions is there if several were asked for; the batch axis is always there
    (unless an unbatched cache was given); the position axis is dropped when one position was asked for. A prompt too
    short for a position holds NaN there.

    Attributes:
        parts: One label per part, aligned with the first axis of `values`.
        values: The contributions.
        total: The sum of additive rows, else the last row.
        constant: `β · W_U + b_U`, which no part writes.
        logit: The model's own logit (or difference), measured, before any soft cap or logit scale; for many positions
            how, see `unembed` of `Attributor`.
        output_logit: The same after them: what the model returns.
        tolerance: How large a gap the model's own rounding can make.
        positions: The position of each entry in its prompt; -1 where there is none.
        provenance: What was asked of which model: prompts, directions, decomposer, versions.
        rerun: The model and what was asked of it, for a closer look; None in a result read from a file without it.
        question: What a file says of that, in a result read from it without the model.
    """

    parts: tuple[Label, ...]
    values: Float[Tensor, "part *direction_batch_and_pos"]
    total: Float[Tensor, "*direction_batch_and_pos"]
    constant: Float[Tensor, "*direction_batch_and_pos"]
    logit: Float[Tensor, "*direction_batch_and_pos"]
    output_logit: Float[Tensor, "*direction_batch_and_pos"]
    tolerance: Float[Tensor, "*direction_batch_and_pos"]
    positions: Int[Tensor, "*batch_and_pos"]
    provenance: Provenance = field(repr=False)
    rerun: Rerun | None = field(default=None, repr=False)
    question: Question | None = field(default=None, repr=False)

    @staticmethod
    def of(query: Query, run: ForwardResult) -> "Attribution":
        """What a pass gave, without the axes that were not asked for; NaN where a prompt has no such position.

        Args:
            query: What was asked.
            run: The pass.
        """
        positions, rerun = query.positions, Rerun.of(query, run)
        asked = {"direction": bool(query.names), "batch": query.batched, "position": not positions.single}
        axes = [i for i, there in enumerate(asked.values(), start=-3) if not there]
        shaped = partial(without_axes, positions, axes)
        return Attribution(
            parts=tuple(run.labels),
            values=shaped(run.values),
            total=shaped(run.total),
            constant=shaped(run.constant),
            logit=shaped(run.logit),
            output_logit=shaped(run.output_logit),
            tolerance=shaped(rerun.tolerance),
            positions=torch.where(positions.valid, positions.index, -1).squeeze([axis for axis in axes if axis > -3]),
            provenance=provenance_of(query, tuple(name for name, there in asked.items() if there), run.answers),
            rerun=rerun,
        )

    @property
    def labels(self) -> list[str]:
        """The labels as text, aligned with the first axis of `values`."""
        return [str(part) for part in self.parts]

    @property
    def gap(self) -> Float[Tensor, "*direction_batch_and_pos"]:
        """`logit - (total + constant)`: what the parts do not explain. Rounding, or an error was raised."""
        return self.logit - (self.total + self.constant)

    @property
    def tokens(self) -> list[list[str]]:
        """Each prompt's tokens as text."""
        return [list(prompt) for prompt in self.provenance.tokens]

    @property
    def directions(self) -> list[str]:
        """The names of the directions, if several were asked for, aligned with the second axis of `values`."""
        return list(self.provenance.directions)

    def direction(self, name: str) -> "Attribution":
        """The attribution of one of several directions.

        Raises:
            ValueError: If none has that name.
        """
        i = place_of_direction(name, self.directions)
        dims = tuple(dim for dim in self.provenance.dims if dim != "direction")
        asked = self.provenance.asked[i : i + 1]
        provenance = replace(self.provenance, direction=name, directions=(), dims=dims, asked=asked)
        tensors = {key: getattr(self, key)[i] for key in PER_PLACE}
        rerun = None if self.rerun is None else self.rerun.of_direction(i)
        question = None if self.question is None else self.question.of_direction(i)
        return replace(self, values=self.values[:, i], provenance=provenance, rerun=rerun, question=question, **tensors)

    def __getitem__(self, prompt: Count) -> "Attribution":
        """The attribution of one prompt, as it is when that is asked alone; iterating gives one after the other.

        Raises:
            IndexError: If there is no such prompt.
            TypeError: If it is no number.
            ValueError: If there is no axis of prompts.
        """
        return replace(self, **of_prompt(self, prompt))

    def sum_positions(self) -> "Attribution":
        """The sum over the positions of each prompt, as of an answer's tokens: rows, total, constant, logit.

        The proof is that of each position, added up. What runs the model again (`refine`, `trace`, `effects`, ...) is
        asked of the result with positions.

        Raises:
            ValueError: If there is one position.
        """
        return replace(self, **summed(self))

    def top(self, k: Count = 5, *, by: str = "value") -> list[tuple[str, float]]:
        """The `k` parts that contribute most, averaged over prompts and positions; of an answer's tokens the sum.

        Args:
            k: How many.
            by: "value" for the most positive, "abs" for the largest of either sign.

        Raises:
            TypeError: If `k` is not a whole number.
            ValueError: If several directions were asked for, `k` is negative, or `by` is neither.
        """
        return ranked(self, by, k, 1)

    def bottom(self, k: Count = 5, *, by: str = "value") -> list[tuple[str, float]]:
        """The `k` parts that contribute least: the most negative, or with `by="abs"` the smallest of either sign."""
        return ranked(self, by, k, -1)

    def select(
        self,
        label: Labels = None,
        *,
        kind: Kind = None,
        layer: Layer = None,
        where: Callable[[Label], bool] | None = None,
    ) -> "Attribution":
        """Only some of the parts. `total` and `gap` still speak of all of them.

        Args:
            label: A label or several, as written in `labels`.
            kind: A kind, such as "head".
            layer: A layer.
            where: Says of each label whether to keep it.

        Raises:
            TypeError: If something else is asked for.
            ValueError: If no part is left, or a label does not exist.
        """
        keep = chosen(self.parts, {"label": label, "kind": kind, "layer": layer}, LabelIndex(self.labels), where)
        return replace(self, parts=tuple(self.parts[i] for i in keep), values=self.values[keep])

    def part(self, label: OneLabel) -> Part:
        """One part, for a closer look at what it writes.

        Raises:
            TypeError: If several are asked for.
            ValueError: If there is no such part.
        """
        i = self._place(label)
        return Part(self.parts[i], self.values[i], self.rerun)

    def refine(self, label: OneLabel, *, by: Decomposer) -> "Attribution":
        """The same attribution with one part in pieces, which are measured by running the model once more.

        Args:
            label: The part, as written in `labels`.
            by: A decomposer that splits it; only the pieces of this part are taken.

        Raises:
            ReconstructionError: If the pieces do not add up to the part.
            RunChangedError: If the model does not run any more as it ran for this result.
            TypeError: If it is not one label, or `by` is no decomposer.
            ValueError: If there is no such part, or the decomposer has no pieces of it.
        """
        rerun = run_of(self, "refine")
        return replace(self, **refined(self, self._place(label), as_decomposer(by), rerun, f"refine({label!r})"))

    def trace(self, label: Labels, *, by: Decomposer, rule: Rule | None = None, pos: Pos = None) -> "Attribution":
        """What fed a part: its row (`logit`, as measured), in rows of what was written before the part read it.

        Args:
            label: The part, or several that read at one place.
            by: What the rows of the trace are; the axis of positions is that of the positions read.
            rule: How a gated MLP is read as linear: `FrozenGate()`, `FrozenUp()` or `Mixed(0.5)`.
            pos: Only what was written at this position; None for the sum over all that the result is about.

        Raises:
            ReconstructionError: If the rows and the constant are not the measured row.
            RunChangedError: If the model does not run any more as it ran for this result.
            UnsupportedModelError: If it is not known what the part read.
            ValueError: If there is no such part, it read nothing, or an argument does not fit.
        """
        places = places_of(label, self.labels)
        found = trace(run_of(self, "trace"), [self.parts[i] for i in places], as_decomposer(by), rule, pos)
        found = found.of(self.values[list(places)].sum(0), self.tolerance)
        return found.proven(Attribution.of(found.query, found.run))

    def trace_back(self, to: str = "tokens", *, rule: Rule | None = None, pos: Pos = None) -> "Attribution":
        """The logit in rows of what stood at an earlier place of the stream, position by position, and of biases.

        Args:
            to: "tokens" for the embeddings, or the hook name of a stream.
            rule: As in `trace`.
            pos: Which position, where the result is about several.

        Raises:
            ReconstructionError: If the rows and the constant are not the logit.
            RunChangedError: As `trace`.
            ValueError: If there is no such place before what was asked about, or an argument does not fit.
        """
        return trace_back(run_of(self, "trace_back"), to, rule, pos).proven(self)

    def __sub__(self, other: object) -> Difference:
        if not isinstance(other, Attribution):
            raise TypeError(f"{shown(other)} is no Attribution. Subtract another result of attribute().")
        return Difference.of(self, other)

    def group_by(
        self, key: str | Mapping[str, Selector] | Renaming | None = None, *, spans: Spans | None = None
    ) -> "Attribution":
        """The same attribution with coarser rows, each the sum of its members.

        Args:
            key: "layer"; "kind"; "source" (what all heads read from one position or span); "parent" (the finest rows
                one step up the tree: sources to their head, heads to `attn_out`); "component" (up to embeddings and
                sublayers); named groups, each a label, several labels, a regular expression or a function of the label;
                or a function from a label to the label of its group.
                Rows of no group stay.
            spans: Named spans of the prompts instead, as `SourceDecomposer` takes them: what each head reads from the
                positions of a span is one row, `L9H6 ← subject`, and all else that it reads is `L9H6 ← rest`.

        Raises:
            TypeError: If the key is none of these, or a function gives something else than a label.
            ValueError: If the rows do not add up, a group has no row, or a row belongs to two groups; if a span is not
                in its prompt, or no row comes from a position.
        """
        if (key is None) == (spans is None):
            raise TypeError("group_by takes a key, such as 'layer', or spans=..., and one of the two. Pass one.")
        if spans is not None:
            return replace(self, question=None, **over_spans(self, spans, self.rerun))
        return replace(self, question=None, **grouped(self, key, self.rerun))

    def _place(self, label: OneLabel) -> int:
        return LabelIndex(self.labels)(label)
