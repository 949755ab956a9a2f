"""One step back: a row of an attribution as a direction on the stream that its part read, at each position."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dla.adapters.upstream import up_to
from dla.adapters.watching import merged_observers
from dla.decomposers.base import Decomposer, plan_of
from dla.decomposers.plans import PlanStep
from dla.decomposers.rows import Rows, rows_where
from dla.directions import ResolvedDirection
from dla.engine.contraction import Contraction
from dla.engine.forward import ForwardResult, before_norm, directions_of
from dla.engine.frozen import FrozenRun
from dla.engine.held import Leaves, held
from dla.engine.logits import NormWatch, WeighedLogits, readings_of
from dla.engine.pull_back import PulledBack
from dla.engine.query import Query
from dla.engine.rules import Rule
from dla.engine.shown import Shown
from dla.engine.traced import shown_by_site
from dla.engine.traced_features import Key, shown_of
from dla.inputs.positions import Positions
from dla.labels import Label
from dla.writes import Site


@final
@dataclass(frozen=True, eq=False)
class RowGradient:
    """A row, and the direction that it is on what the model's sublayers made.

    Attributes:
        row: The value of the row, at each position that was asked about.
        constant: How much of it is biases, which are added whatever the stream holds; at every position.
        on: The direction, by what it reads, at every position.
    """

    row: Float[Tensor, "batch query"]
    constant: Float[Tensor, "batch pos"]
    on: dict[Key, Float[Tensor, "batch pos *made"]]

    @property
    def used(self) -> dict[Key, Float[Tensor, "batch pos *made"]]:
        """The direction on what it reads something of."""
        return {key: direction for key, direction in self.on.items() if bool(direction.any())}


def steps_with(query: Query, labels: Iterable[Label]) -> list[PlanStep]:
    """The steps of a plan that may give rows with some labels."""
    wanted = set(labels)
    return [
        step
        for step in query.plan.steps(query.prompts)
        if step.reductions or any(query.plan.label_in_result(label) in wanted for label in step.write.labels)
    ]


def traceable(query: Query, steps: Iterable[PlanStep]) -> dict[Key, Shown]:
    """What those steps are linear in."""
    by_site = shown_by_site(query.model)
    return {key: shown for step in steps for key, shown in shown_of(step.write, query.model, by_site).items()}


def row_gradient(
    query: Query,
    steps: Sequence[PlanStep],
    labels: frozenset[Label],
    asked: Bool[Tensor, "batch query"],
    scale: Float[Tensor, "batch query"] | None,
    run: FrozenRun,
) -> RowGradient:
    """What the sum of some rows is, as a direction on what sublayers made.

    Args:
        query: What was asked.
        steps: Those that give the rows.
        labels: The rows.
        asked: The positions at which they are taken.
        scale: What the rows are divided by.
        run: A run that shows what the steps read.
    """
    shown = traceable(query, steps)
    leaves, shape = Leaves(), query.positions.index.shape
    steps = [PlanStep(held(step.write, leaves, (shape[0], shape[1])), step.reductions) for step in steps]

    def leaf(site: Site, activation: Tensor) -> Tensor:
        taken = query.select(site, activation).to(run.home)
        if site in shown:
            leaves.made[site] = taken = taken.detach().requires_grad_()
        return taken

    # The engine contracts with gradients where its directions ask for them.
    reads = before_norm(directions_of(query)).detach().clone().requires_grad_()
    contraction = Contraction(steps, reads, leaf)
    observers = contraction.observers()
    for name in observers:
        observers[name](run.shown(name))
    with torch.enable_grad():
        found = [rows_where(_named(rows, query), labels.__contains__) for rows in contraction.rows(*shape)]
        row = torch.cat([rows.values[:, 0] for rows in found]).sum(0)
        row = row if scale is None else row / scale.to(row)
        wanted, by = torch.where(asked.to(row.device), row, 0.0).sum(), [*leaves.made.values(), *leaves.biases]
        gradients = torch.autograd.grad(wanted, by, allow_unused=True, materialize_grads=True) if by else ()
    on = {
        key: gradient
        if isinstance(key, Site) and key.position_axis is None
        else run.everywhere(gradient, query.positions)
        for key, gradient in zip(leaves.made, gradients, strict=False)
    }
    constant = sum(gradients[len(on) :], torch.zeros_like(row))
    return RowGradient(row.detach(), run.everywhere(constant, query.positions).detach(), on)


def _named(rows: Rows, query: Query) -> Rows:
    return Rows([query.plan.label_in_result(label) for label in rows.labels], rows.values)


def pulled_back(
    used: dict[Key, Float[Tensor, "batch pos *made"]], shown: dict[Key, Shown], rule: Rule | None, run: FrozenRun
) -> PulledBack:
    """The direction on the one place of the stream that all traced sublayers read."""
    return reduce(add, (shown[key].pulled_back(on, rule, run) for key, on in used.items()))


def query_at(query: Query, place: str, by: Decomposer, words: str, positions: Positions, pulled: PulledBack) -> Query:
    """The question that a trace asks: what reads the stream at a place, in the rows of a decomposer.

    Args:
        query: The question whose row is traced.
        place: The hook name of the place.
        by: The decomposer.
        words: What is asked, in words.
        positions: Where the row was read.
        pulled: What reads the stream there.
    """
    model = up_to(query.model, place)
    resolved = ResolvedDirection.of_vector(pulled.direction, place)
    plan = plan_of(by, model)
    return Query(model, plan, query.prompts, positions, words, (), (resolved,), query.cache)


@torch.no_grad()
def answered_by(query: Query, run: FrozenRun, eps: float) -> ForwardResult:
    """What a pass over a frozen run gives, for a direction on the stream.

    Args:
        query: What is asked.
        run: The run.
        eps: The rounding unit of what was computed in it.
    """
    steps, directions = query.plan.steps(query.prompts), directions_of(query)
    contraction, norm = Contraction(steps, before_norm(directions), query.select), NormWatch(query)
    observers = merged_observers([contraction.observers(), norm.observers()])
    for name in observers:
        observers[name](run.shown(name))
    shape = query.positions.index.shape
    rows = query.plan.merged(contraction.rows(*shape))
    nothing = torch.zeros(len(directions), *shape, dtype=rows.values.dtype, device=rows.values.device)
    normalised = query.unembedding.normalised
    stream = query.select(normalised, run.shown(normalised.name)).to(run.home)
    readings = readings_of(query, directions, norm, stream, WeighedLogits(nothing, nothing, nothing, None))
    return ForwardResult(
        labels=rows.labels,
        values=rows.values,
        constant=nothing,
        lost=None,
        logit=readings.logit,
        output_logit=readings.output_logit,
        magnitude=readings.magnitude,
        scale=None,
        stream=None,
        sketch=readings.sketch,
        eps=eps,
        row_kind=query.plan.row_kind,
    )
