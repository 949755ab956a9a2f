"""What the rows come to: the model's own logit, and never by making it so."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dla.decomposers.plans import RowKind
from dla.directions import Logit, LogitDifference, ResidualVector
from dla.results.attribution import Attribution
from dla.testing.altered import Altered
from dla.testing.laws.case import Case, Check, Problem, generator
from dla.testing.laws.causes import cause_of
from dla.testing.laws.compare import ROUNDINGS, miss, size_of
from dla.testing.laws.planning import steps_of
from dla.testing.laws.rows import rows_of
from dla.tolerances import TOLERANCE
from dla.writes import Change, Write
from dla.writes.sites import Site

_CLEARLY = 1e3
"""How many rounding units rows must move by to be said to move."""


def find_in_sums(case: Case) -> Problem | None:
    """The rows and the constant come to the model's own logit."""
    ids, others = case.ids(1), case.ids(2)
    own = case.subject.logits(case.tokens).double()
    picked, minus = (own.gather(-1, i[..., None]).squeeze(-1) for i in (ids, others))
    single = case.attribute(Logit(ids))
    transform = case.adapter.anatomy.unembedding.transform
    summed = (single.total + single.constant).double()
    plain = transform is None or bool((transform(summed) == summed).all())
    returned = summed if plain or transform is None else transform(summed)
    problem = _problem(case, single, Logit(ids), returned, picked, "the token's logit")
    if problem is not None:
        return problem
    for direction, wanted, what in (
        (LogitDifference(ids, others), picked - minus if plain else None, "the difference of two logits"),
        (_vector(case), None, "a residual vector"),
    ):
        result = case.attribute(direction)
        expected = result.logit.double() if wanted is None else wanted
        problem = _problem(case, result, direction, (result.total + result.constant).double(), expected, what)
        if problem is not None:
            return problem
    return None


def _problem(
    case: Case, result: Attribution, direction: Any, got: Tensor, expected: Tensor, what: str
) -> Problem | None:
    last = "the rows and the constant" if case.law is RowKind.ADDITIVE else "the last row and the constant"
    if tuple(got.shape) != tuple(expected.shape):
        return Problem(
            f"There should be a sum for each prompt and position, {list(expected.shape)}; got {list(got.shape)}."
        )
    cancelling = result.tolerance / (TOLERANCE * case.eps)  # within one dot product, too, where there is one row
    missed = miss(got, expected, size_of(result) + expected.abs().to(result.values) + cancelling, case.eps)
    if missed is None:
        return None
    where = f"prompt {missed.where[0]}, position {missed.where[1]}"
    told = miss(result.logit, expected, size_of(result) + expected.abs().to(result.values), case.eps)
    if told is not None and miss(result.total + result.constant, result.logit, size_of(result), case.eps) is None:
        cause = "They are the logit as it was measured, and the model's own is another: something changed the model."
    else:
        cause = cause_of(case, result, direction)
    return Problem(f"{last} should be {what}, at {where}: {missed}.", cause)


def _vector(case: Case) -> ResidualVector:
    width = case.adapter.anatomy.unembedding.W_U.shape[0]
    return ResidualVector(torch.randn(*case.tokens.shape, width, generator=generator(5)))


def find_remainder(case: Case) -> Problem | None:
    """When one activation is shown changed, the rows that read it move, and the sum misses the logit by just that."""
    direction = Logit(case.ids(3))
    before = case.attribute(direction)
    hidden: dict[str, dict[str, Tensor]] = {}
    for name in written(case):
        after = case.attribute(direction, model=Altered(case.adapter, show=nudged(name)))
        moved = _moved(before, after)
        size = torch.stack(list(moved.values())).abs().sum(0) if moved else torch.zeros(())
        total = (after.total - before.total).double().abs()
        rounding = case.eps * (size_of(before) + size_of(after)).double()
        if bool((size > _CLEARLY * rounding).any()) and bool((total <= ROUNDINGS * rounding).all()):
            hidden[name] = moved
    if not hidden:
        return None
    name, moved = next(iter(hidden.items()))
    always = [label for label in moved if all(label in others for others in hidden.values())]
    rest = max(always or moved, key=lambda label: float(moved[label].abs().sum()))
    most = float(torch.stack(list(moved.values())).abs().sum(0).max())
    return Problem(
        f"{name!r} was shown changed while the model ran on as it was. The rows that moved ({_some(moved)}), by up to "
        f"{most:.2g} together, still add up to the same: expected a sum that misses the logit by what they moved.",
        f"Row {rest!r} is defined as what the others leave, so that the sum comes out right whatever they are. Measure "
        "it from its own activation.",
    )


def written(case: Case) -> list[str]:
    """The hooks that the plan reads and at which something is written: outputs, `z`, values, neurons; no streams."""
    anatomy = case.adapter.anatomy
    sites: list[Site] = [site for write in anatomy.embeddings for site in _own(write)]
    for sublayer in (sublayer for block in anatomy.blocks for sublayer in block.sublayers):
        sites += [*_own(sublayer.write), *(site for site, _ in sublayer.outputs)]
        sites += [] if sublayer.neurons is None else [sublayer.neurons.post]
        if sublayer.heads is not None:
            sites += [sublayer.heads.z, *([] if sublayer.heads.values is None else [sublayer.heads.values.v])]
    read = read_by(case) - set(streams(case))
    return [name for name in dict.fromkeys(site.name for site in sites) if name in read]


def streams(case: Case) -> list[str]:
    """The hooks that show the residual stream."""
    blocks = case.adapter.anatomy.blocks
    return [w.site.name for b in blocks for w in (b.resid_pre, b.resid_mid, b.resid_post) if w is not None]


def read_by(case: Case) -> set[str]:
    """The hooks that the plan reads."""
    return {site.name for step in steps_of(case) for site in step.write.reads}


def _own(write: Write) -> tuple[Site, ...]:
    return () if isinstance(write, Change) else write.reads[:1]


def nudged(name: str, step: float = 1.0) -> Callable[[str, Tensor], Tensor]:
    """Shows one activation with random numbers added, `step` times its own size."""

    def show(hook: str, activation: Tensor) -> Tensor:
        if hook != name or not activation.is_floating_point():
            return activation
        noise = torch.randn(activation.shape, generator=generator(11), dtype=torch.float64)
        size = float(activation.detach().double().pow(2).mean().sqrt()) or 1.0
        return activation + (step * size * noise).to(activation)

    return show


def _moved(before: Attribution, after: Attribution) -> dict[str, Tensor]:
    """By how much each row moved, those that did."""
    left, right = rows_of(before), rows_of(after)
    names = {key: str(label) for key, label in zip((*left, *right), (*before.parts, *after.parts), strict=True)}
    like = torch.zeros_like(before.total)
    changes = {
        names[key]: (right.get(key, like) - left.get(key, like)).double() for key in dict.fromkeys((*left, *right))
    }
    return {name: change for name, change in changes.items() if bool((change != 0).any())}


def _some(moved: dict[str, Tensor]) -> str:
    names = list(moved)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


RECONSTRUCTION = Check(
    "reconstruction", "The rows and the constant come to the model's own logit at every position.", find_in_sums
)
MEASURED = Check(
    "measured",
    "Each row is measured from its own activation; none is what the others leave.",
    find_remainder,
    (RowKind.ADDITIVE,),
)
