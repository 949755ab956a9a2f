"""The plan, and each write of it alone."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dla.decomposers.plans import Plan, PlanStep
from dla.inputs.prompts import Prompts, read_prompts
from dla.labels import Label
from dla.testing.altered_adapter import AlteredAdapter
from dla.testing.laws.case import Case, Problem, seeded
from dla.testing.laws.compare import deviation
from dla.testing.observed_run import observe_run
from dla.writes import Write
from dla.writes.routes import Activations
from dla.writes.sites import Site

_SINGLE = torch.finfo(torch.float32).eps


def find_in_plan(case: Case) -> Problem | None:
    """`writes` runs nothing, returns writes and entries, and says the same each time; labels can be told apart."""
    watched = AlteredAdapter(case.adapter)
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
    """One label per row, and no two rows with the same."""
    dtype, parts = precision_of(case), []
    activations, direction = observed_activations(case, steps, dtype), random_directions(case, dtype)
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
    activations, directions = observed_activations(case, steps, dtype), random_directions(case, dtype)
    found = (
        problem_of_write(step.write, activations, each)
        for step in steps
        for each in (directions, directions[:, :1, :1])
    )
    return next((problem for problem in found if problem is not None), None)


def problem_of_write(
    write: Write, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"], eps: float = _SINGLE
) -> Problem | None:
    """What is wrong with a write, whose `contract` should be its `vectors` dotted with a direction; None if nothing is.

    Args:
        write: Any write.
        activations: At every site; the write is shown those that it says it reads, and no others.
        direction: What the write is contracted with.
        eps: The rounding unit of the arithmetic of both.
    """
    shown = {site: activations[site] for site in write.reads}
    try:
        vectors = write.vectors(copied(shown))
        contracted = write.contract(copied(shown), direction.clone())
    except KeyError as error:
        return Problem(
            f"{_named(write)} needs {_site_of(error)}, which is not among its `reads`.",
            "`reads` lists every site of a write; the scale of a post-norm is one of them.",
        )
    if not len(write.labels) == vectors.shape[0] == contracted.shape[-3]:
        return Problem(f"{_named(write)} has {len(write.labels)} labels and {contracted.shape[-3]} rows.")
    if not torch.equal(contracted, write.contract(copied(activations), direction.clone())):
        return Problem(f"{_named(write)} gives other numbers where more than its `reads` has arrived.")
    products = vectors.double() * direction.double().unsqueeze(-4)
    dotted, size = products.sum(-1), products.abs().sum(-1)
    missed = deviation(contracted.expand_as(dotted), dotted, size + size.mean(), eps)
    if missed is None:
        return None
    return Problem(
        f"{_named(write)}: `contract` is not `vectors` dotted with the direction, row "
        f"{str(write.labels[missed.where[-3]])!r}: {missed}.",
        "One of the two forgets something on the way to the stream: a multiplier, a norm, its weight or scale.",
    )


def precision_of(case: Case) -> torch.dtype:
    """What sums are made in: float32, or the model's own dtype if that is wider."""
    return torch.promote_types(case.adapter.anatomy.unembedding.W_U.dtype, torch.float32)


def steps_of(case: Case) -> tuple[PlanStep, ...]:
    """The writes of the decomposer's plan for these prompts. Each call makes them anew, so sites may differ."""
    plan = Plan.of(type(case.decomposer).__name__, case.decomposer.writes(case.adapter))
    return plan.steps(read_prompts(case.tokens, case.adapter.vocabulary))


def observed_activations(
    case: Case, steps: Sequence[PlanStep], dtype: torch.dtype
) -> dict[Site, Shaped[Tensor, "..."]]:
    """Every activation that some steps read, at all positions."""
    sites = (site for step in steps for site in step.write.reads)
    return observe_run(case.adapter, case.tokens, sites, dtype).activations


def copied(activations: Activations) -> dict[Site, Shaped[Tensor, "..."]]:
    """The same numbers in tensors that a write may spoil: that it does is another law."""
    return {site: activation.clone() for site, activation in activations.items()}


def random_directions(case: Case, dtype: torch.dtype) -> Float[Tensor, "2 batch pos d_model"]:
    """Two random directions for each prompt and position."""
    width = case.adapter.anatomy.unembedding.W_U.shape[0]
    return torch.randn(2, *case.tokens.shape, width, generator=seeded(3), dtype=torch.float64).to(dtype)


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
