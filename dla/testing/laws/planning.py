"""The plan, and each write of it alone."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dla.decomposers.plans import Plan, PlanStep
from dla.engine.activations import PositionSelector
from dla.inputs.prompts import Prompts, read_positions, read_prompts
from dla.labels import Label
from dla.testing.altered import Altered
from dla.testing.laws.case import Case, Check, Problem, generator
from dla.testing.laws.compare import miss
from dla.writes import Write
from dla.writes.routes import Activations
from dla.writes.sites import Site


def find_in_plan(case: Case) -> Problem | None:
    """`writes` runs nothing, returns writes and entries, and says the same each time; labels can be told apart."""
    watched = Altered(case.adapter)
    items: Any = case.decomposer.writes(watched)
    if not isinstance(items, Sequence):
        return Problem(
            f"`writes` returned a {type(items).__name__}; expected a list or tuple: a plan is gone over more than once."
        )
    if watched.runs:
        return Problem(
            f"`writes` ran the model {watched.runs} times; expected a plan that is made before anything runs."
        )
    try:
        plan, again = (Plan.of(type(case.decomposer).__name__, i) for i in (items, case.decomposer.writes(watched)))
    except (TypeError, ValueError) as error:
        return Problem(str(error))
    prompts = read_prompts(case.tokens, watched.vocabulary)
    first, second = (_labels(each, prompts) for each in (plan, again))
    strange = [label for label in first if not isinstance(label, Label)]
    if strange:
        return Problem(f"{strange[0]!r} is no Label. Make the labels with dla.Label(kind, layer, index).")
    if first != second:
        where = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), len(second))
        return Problem(f"Asked twice, `writes` gives other labels: {_some(first, where)}, then {_some(second, where)}.")
    return _find_in_rows(case, plan, plan.steps(prompts))


def _find_in_rows(case: Case, plan: Plan, steps: Sequence[PlanStep]) -> Problem | None:
    """One label a row, and no two rows with the same."""
    dtype, parts = precision_of(case), []
    activations, direction = seen(case, steps, dtype), direction_of(case, dtype)
    for step in steps:
        try:
            values = step.write.contract(activations, direction)
        except KeyError:  # it reads more than it says, which is another law
            return None
        if values.shape[-3] != len(step.write.labels):
            return Problem(f"{_named(step.write)} has {len(step.write.labels)} labels and {values.shape[-3]} rows.")
        parts.append(step.reduced(values.movedim(-3, 0).expand(-1, -1, *case.tokens.shape)))
    try:
        plan.merged(parts)
    except ValueError as error:
        return Problem(str(error))
    return None


def find_in_contract(case: Case) -> Problem | None:
    """What a write contracts with a direction is the dot product of its vectors with it, from what it reads alone."""
    try:
        return _find_in_writes(case, torch.float64)
    except RuntimeError:  # a write may want its activations in the dtype of its weights
        return _find_in_writes(case, precision_of(case))


def _find_in_writes(case: Case, dtype: torch.dtype) -> Problem | None:
    steps = steps_of(case)
    activations, direction = seen(case, steps, dtype), direction_of(case, dtype)
    found = (_find_in_write(step.write, activations, direction) for step in steps)
    return next((problem for problem in found if problem is not None), None)


def _find_in_write(write: Write, activations: Activations, directions: Tensor) -> Problem | None:
    shown = {site: activations[site] for site in write.reads}
    for direction in (directions, directions[:, :1, :1]):
        try:
            vectors = write.vectors(copies(shown))
            contracted = write.contract(copies(shown), direction.clone())
        except KeyError as error:
            return Problem(
                f"{_named(write)} needs {_site_of(error)}, which is not among its `reads`.",
                "`reads` lists every site of a write; the scale of a post-norm is one of them.",
            )
        products = vectors.double() * direction.double().unsqueeze(-4)
        dotted, size = products.sum(-1), products.abs().sum(-1)
        if not torch.equal(contracted, write.contract(copies(activations), direction.clone())):
            return Problem(f"{_named(write)} gives other numbers where more than its `reads` has arrived.")
        missed = miss(contracted.expand_as(dotted), dotted, size + size.mean(), torch.finfo(torch.float32).eps)
        if missed is not None:
            label = write.labels[missed.where[1]] if len(missed.where) > 1 else write.labels[0]
            return Problem(
                f"{_named(write)}: `contract` is not `vectors` dotted with the direction, row {str(label)!r}: "
                f"{missed}.",
                "One of the two forgets something on the way to the stream: a multiplier, a norm, its weight or scale.",
            )
    return None


def precision_of(case: Case) -> torch.dtype:
    """What sums are made in: float32, or the model's own dtype if that is wider."""
    return torch.promote_types(case.adapter.anatomy.unembedding.W_U.dtype, torch.float32)


def steps_of(case: Case) -> tuple[PlanStep, ...]:
    """The writes of the decomposer's plan for these prompts; settled anew, they may read other sites."""
    plan = Plan.of(type(case.decomposer).__name__, case.decomposer.writes(case.adapter))
    return plan.steps(read_prompts(case.tokens, case.adapter.vocabulary))


def seen(case: Case, steps: Sequence[PlanStep], dtype: torch.dtype) -> dict[Site, Tensor]:
    """Every activation that some steps read, at all positions."""
    adapter = case.adapter
    width = case.tokens.shape[1]
    select = PositionSelector(read_positions(None, read_prompts(case.tokens, adapter.vocabulary)), width, dtype)
    by_name: dict[str, list[Site]] = {}
    for site in dict.fromkeys(site for step in steps for site in step.write.reads):
        by_name.setdefault(site.name, []).append(site)
    found: dict[Site, Tensor] = {}

    def observer(sites: Sequence[Site]) -> Callable[[Tensor], None]:
        return lambda activation: found.update({site: select(site, activation.detach().clone()) for site in sites})

    adapter.run(case.tokens, {name: observer(sites) for name, sites in by_name.items()}, None)
    return found


def copies(activations: Activations) -> dict[Site, Tensor]:
    """The same numbers in tensors that a write may spoil: that it does is another law."""
    return {site: activation.clone() for site, activation in activations.items()}


def direction_of(case: Case, dtype: torch.dtype) -> Tensor:
    """Two random directions for each prompt and position."""
    width = case.adapter.anatomy.unembedding.W_U.shape[0]
    return torch.randn(2, *case.tokens.shape, width, generator=generator(3), dtype=torch.float64).to(dtype)


def _named(write: Write) -> str:
    first = str(write.labels[0]) if len(write.labels) else "no label"
    return f"{type(write).__name__} ({first!r}{', ...' if len(write.labels) > 1 else ''})"


def _site_of(error: KeyError) -> str:
    missing = error.args[0] if error.args else error
    return repr(missing.name if isinstance(missing, Site) else missing)


def _labels(plan: Plan, prompts: Prompts) -> list[Any]:
    return [label for step in plan.steps(prompts) for label in step.write.labels]


def _some(labels: Sequence[Label], where: int) -> str:
    return repr(str(labels[where])) if where < len(labels) else "nothing"


PLAN = Check(
    "plan", "A plan is made before anything runs, is the same each time, and has one label a row.", find_in_plan
)
CONTRACT = Check(
    "contract",
    "A write's `contract` is the dot product of its `vectors` with the direction, and needs only what it reads.",
    find_in_contract,
)
