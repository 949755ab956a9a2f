"""What the rows sum to: the model's own logit, and not because one of them is defined as the rest."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dla.decomposers.rows import RowKind
from dla.directions import Logit, LogitDifference, ResidualVector
from dla.labels import Label
from dla.results.attribution import Attribution
from dla.testing.altered_adapter import AlteredAdapter
from dla.testing.laws.case import Case, Problem, seeded
from dla.testing.laws.causes import cause_of
from dla.testing.laws.compare import ALLOWED_ROUNDINGS, deviation, sum_size
from dla.testing.laws.planning import steps_of
from dla.testing.laws.rows import rows_of
from dla.tolerances import TOLERANCE
from dla.writes import Change, Write
from dla.writes.sites import Site

_CLEARLY = 1e3
"""How many rounding units rows must move by to be said to move."""

_Row = Float[Tensor, "batch pos"]


def find_in_sums(case: Case) -> Problem | None:
    """The rows and the constant sum to the model's own logit."""
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
        (_random_vector(case), None, "a residual vector"),
    ):
        result = case.attribute(direction)
        expected = result.logit.double() if wanted is None else wanted
        problem = _problem(case, result, direction, (result.total + result.constant).double(), expected, what)
        if problem is not None:
            return problem
    return None


def _problem(
    case: Case,
    result: Attribution,
    direction: Any,
    got: Float[Tensor, "..."],
    expected: Float[Tensor, "..."],
    what: str,
) -> Problem | None:
    if tuple(got.shape) != tuple(expected.shape):
        return Problem(
            f"There should be a sum for each prompt and position, {list(expected.shape)}; got {list(got.shape)}."
        )
    # Where there is one row, what cancels does so within its dot product; the result's own tolerance knows it.
    within = result.tolerance / (TOLERANCE * case.eps)
    size = sum_size(result) + expected.abs().to(result.values)
    missed = deviation(got, expected, size + within, case.eps)
    if missed is None:
        return None
    measured = deviation(result.logit, expected, size, case.eps)
    summed = deviation(result.total + result.constant, result.logit, sum_size(result), case.eps)
    if measured is not None and summed is None:
        cause = "They are the logit as it was measured, and the model's own is another: something changed the model."
    else:
        cause = cause_of(case, result, direction)
    rows = "the rows and the constant" if case.row_kind is RowKind.ADDITIVE else "the last row and the constant"
    where = f"prompt {missed.where[0]}, position {missed.where[1]}"
    return Problem(f"{rows} should be {what}, at {where}: {missed}.", cause)


def _random_vector(case: Case) -> ResidualVector:
    width = case.adapter.anatomy.unembedding.W_U.shape[0]
    return ResidualVector(torch.randn(*case.tokens.shape, width, generator=seeded(5)))


def find_remainder(case: Case) -> Problem | None:
    """When one activation is shown changed, the rows that read it move, and the sum misses the logit by just that."""
    direction = Logit(case.ids(3))
    before = case.attribute(direction)
    hidden: dict[str, dict[Label, Tensor]] = {}
    for name in written(case):
        after = case.attribute(direction, model=AlteredAdapter(case.adapter, show=nudged(name)))
        moved = _moved(before, after)
        size = torch.stack(list(moved.values())).abs().sum(0) if moved else torch.zeros(())
        total = (after.total - before.total).double().abs()
        rounding = case.eps * (sum_size(before) + sum_size(after)).double()
        if bool((size > _CLEARLY * rounding).any()) and bool((total <= ALLOWED_ROUNDINGS * rounding).all()):
            hidden[name] = moved
    if not hidden:
        return None
    name, moved = next(iter(hidden.items()))
    always = [label for label in moved if all(label in others for others in hidden.values())]
    rest = max(always or moved, key=lambda label: float(moved[label].abs().sum()))
    most = float(torch.stack(list(moved.values())).abs().sum(0).max())
    some = ", ".join(map(str, list(moved)[:4])) + (f" and {len(moved) - 4} more" if len(moved) > 4 else "")
    return Problem(
        f"{name!r} was shown changed while the model ran on as it was. The rows that moved ({some}), by up to "
        f"{most:.2g} together, still add up to the same: expected a sum that misses the logit by what they moved.",
        f"Row {str(rest)!r} is defined as what the others leave, so that the sum comes out right whatever they are. "
        "Measure it from its own activation.",
    )


def written(case: Case) -> list[str]:
    """The hooks that the plan reads and at which something is written: outputs, `z`, values, neurons; no streams."""
    anatomy = case.adapter.anatomy
    sites: list[Site] = [site for write in anatomy.embeddings for site in _output(write)]
    for sublayer in (sublayer for block in anatomy.blocks for sublayer in block.sublayers):
        sites += [*_output(sublayer.write), *(site for site, _ in sublayer.outputs)]
        sites += [] if sublayer.neurons is None else [sublayer.neurons.post]
        if sublayer.heads is not None:
            sites += [sublayer.heads.z, *([] if sublayer.heads.values is None else [sublayer.heads.values.v])]
    read = hooks_read_by(case) - set(streams(case))
    return [name for name in dict.fromkeys(site.name for site in sites) if name in read]


def streams(case: Case) -> list[str]:
    """The hooks that show the residual stream."""
    blocks = case.adapter.anatomy.blocks
    return [w.site.name for b in blocks for w in (b.resid_pre, b.resid_mid, b.resid_post) if w is not None]


def hooks_read_by(case: Case) -> set[str]:
    """The hooks that the plan reads."""
    return {site.name for step in steps_of(case) for site in step.write.reads}


def _output(write: Write) -> tuple[Site, ...]:
    return () if isinstance(write, Change) else write.reads[:1]


def nudged(name: str, step: float = 1.0) -> Callable[[str, Shaped[Tensor, "*shape"]], Shaped[Tensor, "*shape"]]:
    """Shows one activation with random numbers added, `step` times its own size."""

    def show(hook: str, activation: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        if hook != name or not activation.is_floating_point():
            return activation
        noise = torch.randn(activation.shape, generator=seeded(11), dtype=torch.float64)
        size = float(activation.detach().double().pow(2).mean().sqrt()) or 1.0
        return activation + (step * size * noise).to(activation)

    return show


def _moved(before: Attribution, after: Attribution) -> dict[Label, _Row]:
    """By how much each row moved, those that did."""
    left, right = rows_of(before), rows_of(after)
    zero = torch.zeros_like(before.total)
    changes = {
        label: (right.get(label, zero) - left.get(label, zero)).double() for label in dict.fromkeys((*left, *right))
    }
    return {label: change for label, change in changes.items() if bool((change != 0).any())}
