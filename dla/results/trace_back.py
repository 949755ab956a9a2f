"""A logit followed all the way back: to the tokens of the prompt, or to any place of the stream."""

from dataclasses import dataclass, replace
from typing import Any, TypeVar, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dla.decomposers.rows import RowKind
from dla.decomposers.source import quoted_tokens
from dla.engine.back import Place, Walk, Walked, place_at
from dla.engine.forward import Unembed
from dla.engine.frozen import FrozenRun
from dla.engine.query import Query
from dla.engine.rules import Rule
from dla.errors import ReconstructionError
from dla.labels import Label
from dla.results.part_vectors import direction_reads
from dla.results.rerun import Rerun
from dla.results.traced_positions import Pos, positions_asked
from dla.text import some_of
from dla.tolerances import TOLERANCE

_Result = TypeVar("_Result")


@final
@dataclass(frozen=True, eq=False)
class TracedBack:
    """What stood at a place, as rows of a logit.

    Attributes:
        labels: One for each row.
        values: What each contributes.
        size: How large the numbers are that cancel in their sum.
        column: For each prompt, which of the result's positions was traced.
        words: The rows, in words.
        rule: How MLPs were read as linear, in words.
        unit: The rounding unit of what was read.
    """

    labels: tuple[Label, ...]
    values: Float[Tensor, "part batch"]
    size: Float[Tensor, " batch"]
    column: Int[Tensor, " batch"]
    words: str
    rule: str
    unit: float

    def proven(self, result: _Result) -> _Result:
        """The attribution that was traced, with these rows.

        Raises:
            ReconstructionError: If they do not make its logit.
        """
        made: Any = result  # an attribution, whose class imports this file
        places = made.provenance.places
        batched, each = "batch" in places, "position" in places

        def of(tensor: Tensor) -> Tensor:
            if not each:
                return tensor
            column = self.column.to(tensor.device)
            taken: Tensor = tensor.gather(-1, column.unsqueeze(-1)).squeeze(-1) if batched else tensor[..., column[0]]
            return taken

        values, size = (self.values, self.size) if batched else (self.values[..., 0], self.size[0])
        names = ("constant", "logit", "output_logit", "positions")
        tolerance = of(made.tolerance) + TOLERANCE * self.unit * (size + values.abs().sum(0)).to(made.tolerance)
        dims = tuple(dim for dim in made.provenance.dims if dim != "position")
        traced = replace(
            made,
            parts=self.labels,
            values=values,
            total=values.sum(0, dtype=torch.float64).to(values),
            tolerance=tolerance,
            provenance=replace(made.provenance, decomposer=self.words, dims=dims, rule=self.rule),
            rerun=None,
            **{name: of(getattr(made, name)) for name in names},
        )
        if bool((~(traced.gap.abs() <= tolerance) & (traced.positions >= 0).to(tolerance.device)).any()):
            raise ReconstructionError(
                f"What stood there and the biases on the way miss the logit by up to {_largest(traced.gap):.1e} "
                f"(allowed: {_largest(tolerance):.1e}). What a hook edits between two parts is in none of them."
            )
        checked: _Result = traced
        return checked


def _largest(tensor: Float[Tensor, "*more"]) -> float:
    return float(tensor.abs().nan_to_num().max())


@torch.no_grad()
def trace_back(rerun: Rerun, to: object, rule: Rule | None, pos: Pos) -> TracedBack:
    """A logit as a sum over what stood at a place of the stream, by one more run of the model.

    Args:
        rerun: Where the logit comes from.
        to: "tokens", or the hook name of a stream.
        rule: How gated MLPs are read as linear.
        pos: Which of the result's positions; None if there is one.

    Raises:
        RunChangedError: If the model does not run any more as it did.
        TypeError: If an argument is of another kind.
        UnsupportedModelError: If nothing is known of what sublayers read.
        ValueError: If there is no such place or position, the rule does not fit, several positions or directions were
            asked for, or the rows do not add up.
    """
    query = rerun.query
    asked = one_position(query, pos)
    place = place_at(query.model, to)
    walk = Walk(query.model, place, rule)
    run = FrozenRun(query, walk.names())
    rerun.again(run.observers(), Unembed.SAMPLE)
    walked = walk.back(end_of(rerun, asked, run), run)
    return rows_of_walk(rerun, place, walked, run, asked, f"traced back to {to}", rule)


def one_position(query: Query, pos: Pos) -> Bool[Tensor, "batch query"]:
    """The one position of each prompt that is traced back.

    Raises:
        TypeError: If `pos` is no number.
        ValueError: If there are several, or several directions, or rows that do not add up.
    """
    if query.names:
        raise ValueError(f"One direction is traced at a time: result.direction({query.names[0]!r}).")
    if query.plan.row_kind is RowKind.LENS:
        raise ValueError("The rows of a lens are on scales of their own; trace the result of another decomposer.")
    asked = positions_asked(query, pos)
    if bool((asked.sum(1) > 1).any()):
        there = sorted(set(query.positions.index[asked].tolist()))
        raise ValueError(
            f"The result is about several positions ({some_of(map(str, there))}), and one is traced back at a time. "
            "Pass pos=... with one of them."
        )
    return asked


def end_of(rerun: Rerun, asked: Bool[Tensor, "batch query"], run: FrozenRun) -> Float[Tensor, "batch pos d_model"]:
    """What reads the last stream at the positions asked about, with the final norm's scale frozen."""
    scale, reads = rerun.scale, direction_reads(rerun.query)[0]
    reads = reads if scale is None else reads / scale.unsqueeze(-1)
    return run.everywhere(reads * asked.unsqueeze(-1).to(reads), rerun.query.positions)


def rows_of_walk(
    rerun: Rerun,
    place: Place,
    walked: Walked,
    run: FrozenRun,
    asked: Bool[Tensor, "batch query"],
    words: str,
    rule: Rule | None,
) -> TracedBack:
    """One row for each position and each thing that stood at a place, then the leaves, then all biases.

    Args:
        rerun: Where the logit comes from.
        place: The place.
        walked: What was found on the way to it.
        run: The run.
        asked: The position that was asked about.
        words: The rows, in words.
        rule: How gated MLPs were read as linear.
    """
    query = rerun.query
    labels: list[Label] = []
    rows: list[Tensor] = []
    texts, size = quoted_tokens(query.prompts), walked.size
    for write in place.writes:
        for part, values in zip(write.labels, write.contract(run, walked.direction), strict=True):
            labels += [
                Label("token", part.layer, s, f"{part} ← {s}{text and f' {text}'}", s, part)
                for s, text in enumerate(texts)
            ]
            rows.append(values.expand(len(size), len(texts)).T)
    labels += [label for label, _ in walked.leaves] + [Label("biases")]
    rows.append(torch.stack([*(value for _, value in walked.leaves), walked.biases]))
    by_rule = "" if rule is None else rule.words
    told, column, unit = f"{words}{by_rule and f' ({by_rule})'}", asked.to(torch.long).argmax(1), run.unit(rerun.eps)
    return TracedBack(tuple(labels), torch.cat(rows), size, column, told, by_rule, unit)
