"""Assertions about attributions, for tests: each says where two numbers part, and by how much."""

import torch
from jaxtyping import Float
from torch import Tensor

from dla.decomposers.rows import RowKind
from dla.inputs.arguments import instance
from dla.inputs.given import number, shown
from dla.results.attribution import Attribution
from dla.testing.laws.compare import Deviation, deviation, largest_size, sum_size
from dla.testing.laws.rows import key_of
from dla.text import some_of


def assert_close(
    got: Float[Tensor, "*shape"],
    expected: Float[Tensor, "*shape"],
    size: Float[Tensor, "*#shape"] | float,
    eps: float,
    name: str = "values",
) -> None:
    """Two ways to the same numbers differ by rounding only.

    Args:
        got: What the library says.
        expected: What was found otherwise. NaN stands for NaN.
        size: How large the numbers are that were added up.
        eps: The rounding unit of the arithmetic.
        name: What they are, for the message.

    Raises:
        AssertionError: If they are not; says where they differ most, and by how much.
    """
    check_alike(got, expected, name)
    if not isinstance(size, Tensor):
        number(size, "a size")
    missed = deviation(got, expected, size, _unit(eps))
    if missed is not None:
        raise AssertionError(f"{name} at {list(missed.where)}: {missed}.")


def assert_reconstructs(
    result: Attribution, own: Float[Tensor, "*batch_and_pos"] | None = None, *, eps: float | None = None
) -> None:
    """The rows and the constant come to the model's own logit.

    Args:
        result: An attribution.
        own: The logit, or combination of logits, before the model's output transform, from a plain call of the model;
            None for the logit that was measured while it was attributed.
        eps: The rounding unit of the model's arithmetic; that of the result's dtype if None.

    Raises:
        AssertionError: If they do not; says where, what was expected and what there is.
    """
    eps = _eps_of(result, eps)
    if own is not None:
        check_alike(result.logit, own, "The model's own logit")
    rows = result.values.sum(0) if result.provenance.row_kind == RowKind.ADDITIVE.value else result.values[-1]
    own = result.logit if own is None else own
    size = sum_size(result) + own.abs().to(result.values)
    _check("the measured logit is not the model's own", deviation(result.logit, own, size, eps), result)
    missed = deviation(rows + result.constant, own, size, eps)
    _check(f"the {len(result.parts)} rows and the constant do not come to the model's own logit", missed, result)
    _check("`total` is not what the rows come to", deviation(result.total, rows, size, eps), result)
    vague = result.tolerance > 1e-3 * size
    if eps < 1e-5 and bool(vague.any()):
        raise AssertionError(
            f"The tolerance is {float(result.tolerance.max()):.1e} where the numbers that add up are of size "
            f"{float(size.max()):.1e}: so large that the check means nothing."
        )


def assert_refines(child: Attribution, parent: Attribution, *, eps: float | None = None) -> None:
    """The rows of `child` are pieces of those of `parent`, and add up to them.

    Args:
        child: The finer attribution; each label names what it is a piece of (`Label.parent`), or is a row of
            `parent` itself.
        parent: The coarser one, of the same prompts and direction.
        eps: The rounding unit of the model's arithmetic; that of the result's dtype if None.

    Raises:
        AssertionError: If a row has no pieces, a piece has no row, or they do not add up; says which.
    """
    _eps_of(parent, eps)
    eps, wanted = _eps_of(child, eps), {key_of(label): i for i, label in enumerate(parent.parts)}
    pieces: dict[int, list[int]] = {i: [] for i in wanted.values()}
    for i, label in enumerate(child.parts):
        place = next((wanted[key_of(part)] for part in label.path() if key_of(part) in wanted), None)
        if place is None:
            raise AssertionError(
                f"{str(label)!r} is a piece of no row of the coarser attribution, whose rows are "
                f"{some_of(parent.labels)}. Make its label with parent=...."
            )
        pieces[place].append(i)
    size = largest_size(child, parent)
    for place, rows in pieces.items():
        name = parent.labels[place]
        if not rows:
            raise AssertionError(f"{name!r} has no pieces in the finer attribution: something is left out.")
        missed = deviation(child.values[rows].sum(0), parent.values[place], size, eps)
        some = some_of(child.labels[i] for i in rows)
        _check(f"the {len(rows)} pieces of {name!r} ({some}) do not add up to it", missed, parent)


def assert_attributions_equal(
    got: Attribution, expected: Attribution, *, eps: float | None = None, factor: float = 1.0
) -> None:
    """Two attributions have the same parts and, up to rounding, the same numbers.

    Args:
        got: An attribution.
        expected: The one that it should be.
        eps: The rounding unit of the model's arithmetic; that of the result's dtype if None.
        factor: What the expected numbers are multiplied by.

    Raises:
        AssertionError: If they are not; says which row differs, where and by how much.
    """
    _eps_of(expected, eps)
    eps, factor = _eps_of(got, eps), number(factor, "a factor")
    if got.labels != expected.labels:
        missing = [label for label in expected.labels if label not in set(got.labels)]
        extra = [label for label in got.labels if label not in set(expected.labels)]
        raise AssertionError(
            f"The labels differ: missing {missing[:4]}, not expected {extra[:4]}, or in another order."
        )
    size = largest_size(expected) * max(1.0, abs(factor))
    for name in ("total", "constant", "logit"):
        left, right = getattr(got, name), factor * getattr(expected, name)
        if left.shape != right.shape:
            raise AssertionError(f"`{name}` has shape {list(left.shape)}, expected {list(right.shape)}.")
    for label, left, right in zip(got.labels, got.values, factor * expected.values, strict=True):
        _check(f"row {label!r} is another", deviation(left, right, size, eps), got)
    for name in ("total", "constant", "logit"):
        _check(f"`{name}` is another", deviation(getattr(got, name), factor * getattr(expected, name), size, eps), got)


def check_alike(got: object, expected: object, name: str) -> None:
    """Checks that two things can be compared.

    Raises:
        TypeError: If one is no tensor.
        AssertionError: If their shapes differ.
    """
    one, other = (instance(each, Tensor, name, "a tensor of numbers") for each in (got, expected))
    if any(
        each.is_meta or each.is_nested or each.is_quantized or each.layout != torch.strided for each in (one, other)
    ):
        raise TypeError(f"{name}: {shown(one)} and {shown(other)} cannot be compared. Pass dense tensors.")
    if one.shape != other.shape:
        raise AssertionError(f"{name} has shape {list(one.shape)}, expected {list(other.shape)}.")


def _eps_of(result: object, eps: object) -> float:
    checked = instance(result, Attribution, "The attribution", "what `attribute` gave")
    return torch.finfo(checked.values.dtype).eps if eps is None else _unit(eps)


def _unit(eps: object) -> float:
    unit = number(eps, "a rounding unit")
    if unit <= 0:
        raise ValueError(f"eps={unit:g} is no rounding unit. Pass one, such as torch.finfo(torch.float32).eps.")
    return unit


def _check(said: str, missed: Deviation | None, result: Attribution) -> None:
    if missed is not None:
        names = result.provenance.dims
        places = zip(names, missed.where[len(missed.where) - len(names) :], strict=True)
        where = "".join(f"{', at ' if i == 0 else ', '}{name} {at}" for i, (name, at) in enumerate(places))
        raise AssertionError(f"{said[0].upper()}{said[1:]}{where}: {missed}.")
