"""The plan, and each write of it alone."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dla.labels import Label
from dla.plans import Plan
from dla.prompts import Prompts, read_prompts
from dla.routes import Activations
from dla.sites import Site
from dla.streaming import Selection
from dla.testing.altered import Altered
from dla.testing.laws.case import Case, Check, Problem, generator
from dla.testing.laws.compare import miss
from dla.writes import Write


def find_in_plan(case: Case) -> Problem | None:
    """`writes` runs nothing, returns writes and entries, and says the same each time; labels can be told apart."""
    watched = Altered(case.model)
    assert watched.anatomy is not None  # found out by running, once
    items = list(case.decomposer.writes(watched))
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
    return _find_in_rows(case, plan, prompts)


def _find_in_rows(case: Case, plan: Plan, prompts: Prompts) -> Problem | None:
    """One label a row, and no two rows with the same."""
    activations, parts = seen(case, plan), []
    for step in plan.steps(prompts):
        values = step.write.contract(_shown(step.write, activations, everything=True), _direction(case))
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
    plan = plan_of(case)
    activations = seen(case, plan)
    for step in plan.steps(read_prompts(case.tokens, case.subject.adapter().vocabulary)):
        problem = _find_in_write(case, step.write, activations)
        if problem is not None:
            return problem
    return None


def _find_in_write(case: Case, write: Write, activations: Activations) -> Problem | None:
    shown = _shown(write, activations)
    for direction in (_direction(case), _direction(case)[:, :1, :1]):
        try:
            vectors, contracted = write.vectors(shown), write.contract(shown, direction)
        except KeyError as error:
            return Problem(
                f"{_named(write)} needs {_site_of(error)}, which is not among its `reads`.",
                "`reads` lists every site of a write; the scale of a post-norm is one of them.",
            )
        products = vectors.double() * direction.unsqueeze(-4)
        dotted, size = products.sum(-1), products.abs().sum(-1)
        missed = miss(contracted.expand_as(dotted), dotted, size + size.mean(), torch.finfo(torch.float32).eps)
        if missed is not None:
            label = write.labels[missed.where[1]] if len(missed.where) > 1 else write.labels[0]
            return Problem(
                f"{_named(write)}: `contract` is not `vectors` dotted with the direction, row {str(label)!r}: "
                f"{missed}.",
                "One of the two forgets something on the way to the stream: a multiplier, a norm, its weight or scale.",
            )
    return None


def plan_of(case: Case, model: Any = None) -> Plan:
    """The decomposer's plan."""
    adapter = case.subject.adapter() if model is None else model
    return Plan.of(type(case.decomposer).__name__, case.decomposer.writes(adapter))


def seen(case: Case, plan: Plan, dtype: torch.dtype = torch.float64) -> dict[Site, Tensor]:
    """Every activation that a plan reads, at all positions."""
    adapter = case.subject.adapter()
    steps = plan.steps(read_prompts(case.tokens, adapter.vocabulary))
    batch, width = case.tokens.shape
    select = Selection(torch.arange(width).expand(batch, -1), width, True, dtype)
    by_name: dict[str, list[Site]] = {}
    for site in dict.fromkeys(site for step in steps for site in step.write.reads):
        by_name.setdefault(site.name, []).append(site)
    found: dict[Site, Tensor] = {}

    def observer(sites: Sequence[Site]) -> Callable[[Tensor], None]:
        return lambda activation: found.update({site: select(site, activation.detach().clone()) for site in sites})

    adapter.run(case.tokens, {name: observer(sites) for name, sites in by_name.items()}, None)
    return found


def _shown(write: Write, activations: Activations, everything: bool = False) -> Activations:
    return activations if everything else {site: activations[site] for site in write.reads}


def _direction(case: Case) -> Tensor:
    """Two random directions for each prompt and position."""
    width = case.subject.adapter().anatomy.unembedding.W_U.shape[0]
    return torch.randn(2, *case.tokens.shape, width, generator=generator(3), dtype=torch.float64)


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
