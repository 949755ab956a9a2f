"""What two tensors that should be the same differ by, in words that point at the mistake."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dla.tolerances import MODULE_TOLERANCE

_CLEAR = 1e-3
"""A cause is named if it explains all but this share of the difference."""


def difference(
    found: Float[Tensor, "batch pos d"], wanted: Float[Tensor, "batch pos d"], size: float, slack: float
) -> str | None:
    """What is wrong with `found`; None if it is `wanted` up to rounding.

    Args:
        found: What there is.
        wanted: What there should be.
        size: The largest entry of anything that was added up.
        slack: The rounding allowed, relative to `size`.
    """
    missed = (found - wanted).abs().max().item()
    if missed <= slack * size:
        return None
    cause = _cause(found.flatten(0, 1), wanted.flatten(0, 1))
    return f"It misses by {missed / size:.1e} of the largest entry (allowed: {slack:.0e}).{cause}"


def largest(*tensors: Shaped[Tensor, "..."]) -> float:
    """The largest entry of several tensors, never 0."""
    return max((float(tensor.abs().max()) for tensor in tensors), default=0.0) or torch.finfo(torch.float64).tiny


def slack_of(tensor: Float[Tensor, "..."]) -> float:
    """How far two runs that are the same may be apart."""
    return largest(tensor) * max(1e-5, MODULE_TOLERANCE.get(tensor.dtype, 0.0))


def apart(left: Float[Tensor, "..."], right: Float[Tensor, "..."]) -> float:
    """How far two tensors are apart; infinite where they have other shapes."""
    if left.shape != right.shape:
        return float("inf")
    return float((left.detach().double() - right.detach().double().to(left.device)).abs().max().nan_to_num(torch.inf))


def _cause(found: Float[Tensor, "token d"], wanted: Float[Tensor, "token d"]) -> str:
    rest = wanted - found
    if _small(rest - rest.mean(0), rest):
        return " What is missing is the same vector at every position: a bias."
    factor = _ratio(found, wanted, (0, 1))
    if _small(wanted - factor * found, rest):
        return f" It is right but for the factor {factor.item():.4g}: a multiplier, or an embedding scale."
    if _small(wanted - _ratio(found, wanted, (0,)) * found, rest):
        return " Each coordinate is off by a factor of its own, at every position the same: a norm's weight."
    if _small(wanted - _ratio(found, wanted, (1,)) * found, rest):
        return " Each position is off by a factor of its own: a norm's scale."
    if _small(rest - rest.mean(-1, keepdim=True), rest):
        return " The two differ by a constant at each position: a norm that centres, or does not."
    return ""


def _ratio(
    found: Float[Tensor, "token d"], wanted: Float[Tensor, "token d"], axes: tuple[int, ...]
) -> Float[Tensor, "#token #d"]:
    """The factors, one for all entries along some axes, that bring `found` closest to `wanted`."""
    product, square = ((found * other).sum(axes, keepdim=True) for other in (wanted, found))
    return product / square.clamp(min=1e-300)


def _small(left: Float[Tensor, "token d"], rest: Float[Tensor, "token d"]) -> bool:
    return bool(left.abs().max() <= _CLEAR * rest.abs().max())
