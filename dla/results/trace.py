"""What fed a part: a row of an attribution, attributed in turn to what was written before the part read it.

The row is a direction on the stream at the place where the part read, one vector for each position. What that direction
reads of the stream, and of the biases on the way, must be the row as it was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dla.adapters.upstream import up_to
from dla.decomposers.base import Decomposer, items_of, plan_of
from dla.decomposers.plans import Item, PlanStep
from dla.decomposers.rows import RowKind
from dla.engine.forward import ForwardResult, Unembed
from dla.engine.frozen import FrozenRun
from dla.engine.pull_back import PulledBack
from dla.engine.query import Query
from dla.engine.rules import Rule, rule_for
from dla.engine.shown import Shown
from dla.engine.traced_features import Key, gated
from dla.engine.tracing import (
    RowGradient,
    answered_by,
    pulled_back,
    query_at,
    row_gradient,
    steps_with,
    traceable,
)
from dla.errors import ReconstructionError, RunChangedError, UnsupportedModelError
from dla.labels import Label
from dla.results.axes import without_axes
from dla.results.rerun import Rerun
from dla.results.traced_positions import Pos, positions_asked, positions_read
from dla.text import some_of
from dla.tolerances import TOLERANCE
from dla.writes import Features, Write

_Result = TypeVar("_Result")


@final
@dataclass(frozen=True, eq=False)
class Trace:
    """What a trace found.

    Attributes:
        query: What was asked: a direction at an earlier place of the stream, at every position.
        run: What its rows are.
        pulled: The traced row there: measured, and what is read of biases.
        part: What was traced, in words.
        rule: How MLPs were read as linear, in words; empty where none was.
        unit: The rounding unit of what was read.
        row: The traced row in this run, at each position of the result.
    """

    query: Query
    run: ForwardResult
    pulled: PulledBack
    part: str
    rule: str
    unit: float
    row: Float[Tensor, "batch query"]

    def of(self, row: Float[Tensor, "*batch_and_pos"], tolerance: Float[Tensor, "*batch_and_pos"]) -> "Trace":
        """The same, if what was traced is the row of the result.

        Args:
            row: That row, at each position that the result is about.
            tolerance: How far the two may be apart.

        Raises:
            RunChangedError: If it is another, as where a dictionary was changed since.
        """
        missed = (self.row.reshape(row.shape).to(row) - row).abs().nan_to_num()
        if bool((missed > tolerance.nan_to_num()).any()):
            raise RunChangedError(
                f"{self.part} is not any more what it was in this result, by {float(missed.max()):.1e}: what its rows "
                "are made with was changed. Attribute again, and trace that result."
            )
        return self

    def proven(self, result: _Result) -> _Result:
        """An attribution of that query with the measured row as its logit, and what is read of biases as its constant.

        Raises:
            ReconstructionError: If the rows and the constant are not the row.
        """
        made: Any = result  # an attribution, whose class imports this file
        positions, batched = self.query.positions, self.query.batched
        axes = [axis for axis, there in ((-2, batched), (-1, not positions.single)) if not there]
        shaped = partial(without_axes, positions, axes)
        tolerance = made.tolerance + shaped(TOLERANCE * self.unit * self.pulled.size)
        measured = shaped(self.pulled.measured)
        proven = replace(
            made,
            constant=shaped(self.pulled.constant),
            logit=measured,
            output_logit=measured,
            tolerance=tolerance,
            provenance=replace(made.provenance, traced=self.part, rule=self.rule),
        )
        if bool((~(proven.gap.abs() <= tolerance) & (made.positions >= 0).to(tolerance.device)).any()):
            gap, allowed = float(proven.gap.abs().nan_to_num().max()), float(tolerance.nan_to_num().max())
            raise ReconstructionError(
                f"The {len(self.run.labels)} rows of {self.query.plan.name} and the constant miss the "
                f"{self.query.direction} by up to {gap:.1e} (allowed: {allowed:.1e}). What a hook edits between two "
                "parts is in neither."
            )
        checked: _Result = proven
        return checked


@torch.no_grad()
def trace(rerun: Rerun, labels: Sequence[Label], by: Decomposer, rule: Rule | None = None, pos: Pos = None) -> Trace:
    """The sum of some rows, traced one step back, by one more run of the model.

    Args:
        rerun: Where the rows come from.
        labels: The rows.
        by: What the rows of the trace are.
        rule: How MLPs are read as linear; None where none is gated.
        pos: Only what was written at this position; None for the sum over all that the result is about.

    Raises:
        ReconstructionError: If what was read does not make the rows.
        RunChangedError: If the model does not run any more as it did.
        TypeError: If `pos` is no number, or the rule is none.
        UnsupportedModelError: If it is not known what a part reads.
        ValueError: If a part reads nothing, several read at different places, the result is not about `pos`, the rule
            does not fit, or rows do not add up.
    """
    query, wanted = rerun.query, frozenset(labels)
    _check_kinds(query, by)
    asked, steps = positions_asked(query, pos), steps_with(query, wanted)
    shown = traceable(query, steps)
    _check_normalised(steps, query, wanted)
    run = FrozenRun(query, _names(query, steps, shown, by))
    rerun.again(run.observers(), Unembed.SAMPLE)
    return traced(rerun, labels, by, rule, asked, run)


def traced(
    rerun: Rerun,
    labels: Sequence[Label],
    by: Decomposer,
    rule: Rule | None,
    asked: Bool[Tensor, "batch query"],
    run: FrozenRun,
) -> Trace:
    """As `trace`, of a run whose activations are kept.

    Args:
        rerun: Where the rows come from.
        labels: The rows.
        by: What the rows of the trace are.
        rule: How MLPs are read as linear.
        asked: The positions at which the rows are taken.
        run: The run.
    """
    query, name = rerun.query, _words(labels)
    steps = steps_with(query, labels)
    shown = traceable(query, steps)
    gradient = row_gradient(query, steps, frozenset(labels), asked, rerun.frozen_scale(), run)
    on = gradient.used or _of_nothing(name, gradient, asked)
    used = [shown[key] for key in on]
    places = list(dict.fromkeys(each.entry.stream.site.name for each in used))
    if len(places) > 1:
        raise ValueError(
            f"{name} read the stream at different places: {some_of(places)}. Trace the parts of one sublayer at a time."
        )
    pulled = pulled_back(on, shown, rule, run).plus(gradient.constant)
    _check_row(name, gradient, pulled, asked, run.unit(rerun.eps))
    by_rule = _rule_in_words(used, rule)
    words = f"{name} of {query.direction}{by_rule and f' ({by_rule})'}"
    read = positions_read(query, labels, used, asked, run)
    pulled = pulled.at(read.index)
    asked_at = query_at(query, places[0], by, words, read, pulled)
    answer = answered_by(asked_at, run, rerun.eps)
    return Trace(asked_at, answer, pulled, name, by_rule, run.unit(rerun.eps), gradient.row)


def _check_kinds(query: Query, by: Decomposer) -> None:
    if query.plan.row_kind is not RowKind.ADDITIVE:
        raise ValueError(f"The rows are {query.plan.row_kind.value}; none is a part that read something.")
    if by.row_kind is not RowKind.ADDITIVE:
        raise ValueError(f"The rows of {type(by).__name__} do not add up, so nothing can be traced to them.")
    if query.names:
        raise ValueError(f"One direction is traced at a time: result.direction({query.names[0]!r}).trace(...).")


def _names(query: Query, steps: Sequence[PlanStep], shown: dict[Key, Shown], by: Decomposer) -> set[str]:
    """The hooks that a trace needs."""
    sites = [site for step in steps for site in step.write.reads]
    entries = []
    for each in shown.values():
        sites += each.sites
        try:
            entries.append(each.entry.stream.site.name)
        except UnsupportedModelError:  # one of many that may have made the row; said only where it did
            continue
    model = up_to(query.model, entries[0]) if len(set(entries)) == 1 else query.model
    items = plan_of(by, model).items if len(set(entries)) == 1 else items_of(by, model)
    sites += [site for item in items for site in _write(item, query).reads]
    return {site.name for site in sites} | set(entries)


def _write(item: Item, query: Query) -> Write:
    return item if isinstance(item, Write) else item.write(query.prompts)


def _of_nothing(name: str, gradient: RowGradient, asked: Bool[Tensor, "batch query"]) -> dict[Key, Tensor]:
    """The direction of a row that depends on nothing that was read: 0 where the row is 0.

    Raises:
        ValueError: If it is not.
    """
    if not gradient.on or bool(gradient.row[asked.to(gradient.row.device)].any()):
        raise ValueError(
            f"{name} read nothing of the stream, as embeddings and biases do, so nothing fed it. Trace a head, an MLP "
            "or a neuron."
        )
    return dict([next(iter(gradient.on.items()))])


def _check_normalised(steps: Sequence[PlanStep], query: Query, labels: frozenset[Label]) -> None:
    """Refuses rows of a dictionary that hold the mean by which it normalises its input."""
    for step in steps:
        write = step.write
        if isinstance(write, Features) and not write.dictionary.plain:
            rest = [label for label in write.labels[len(write.dictionary.W_dec) :] if label.kind != "skip"]
            asked = [label for label in rest if query.plan.label_in_result(label) in labels]
            if asked:
                raise UnsupportedModelError(
                    f"{asked[0]} cannot be traced: the dictionary of {write.dictionary.writes!r} normalises what it "
                    "reads, and this row holds the mean that it took away. Trace its features, or the sublayer."
                )


def _check_row(
    name: str, gradient: RowGradient, pulled: PulledBack, asked: Bool[Tensor, "batch query"], unit: float
) -> None:
    """Checks that what was made of the stream, at all positions, makes the row."""
    row = gradient.row.masked_fill(~asked.to(gradient.row.device), 0.0)
    missed = (row.sum(-1, dtype=torch.float64) - pulled.measured.sum(-1, dtype=torch.float64)).abs()
    allowed = TOLERANCE * unit * (pulled.size.sum(-1) + row.abs().sum(-1))
    if bool((missed > allowed.to(missed)).any()):
        raise ReconstructionError(
            f"What {name} read makes {float(missed.max()):.1e} more or less than its value (allowed: "
            f"{float(allowed.max()):.1e}): it is not linear in what its sublayer made, or it holds a part that read "
            "nothing, such as an embedding."
        )


def _words(labels: Sequence[Label]) -> str:
    return " + ".join(map(str, labels))


def _rule_in_words(used: Sequence[Shown], rule: Rule | None) -> str:
    for each in used:
        of_gated = gated(each)
        if of_gated is not None:
            return rule_for(rule, of_gated, each.name).words
    return ""
