"""Says what two tensors that should be the same differ by, in words that point at the mistake."""

import torch
from jaxtyping import Float
from torch import Tensor

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
    return f"It misses by {missed / size:.1e} of the largest entry (allowed: {slack:.0e}).{_cause(found, wanted)}"


def _cause(found: Tensor, wanted: Tensor) -> str:
    found, wanted = found.flatten(0, 1), wanted.flatten(0, 1)
    rest = wanted - found
    if _small(rest - rest.mean(0), rest):
        return " What is missing is the same vector at every position: a bias."
    factor = (found * wanted).sum() / found.pow(2).sum().clamp(min=1e-300)
    if _small(wanted - factor * found, rest):
        return f" It is right but for the factor {factor.item():.4g}: a multiplier, or an embedding scale."
    weight = (found * wanted).sum(0) / found.pow(2).sum(0).clamp(min=1e-300)
    if _small(wanted - weight * found, rest):
        return " Each coordinate is off by a factor of its own, at every position the same: a norm's weight."
    scale = (found * wanted).sum(-1, keepdim=True) / found.pow(2).sum(-1, keepdim=True).clamp(min=1e-300)
    if _small(wanted - scale * found, rest):
        return " Each position is off by a factor of its own: a norm's scale."
    if _small(_centred(wanted) - _centred(found), rest):
        return " The two differ by a constant at each position: a norm that centres, or does not."
    return ""


def _small(left: Tensor, rest: Tensor) -> bool:
    return bool(left.abs().max() <= _CLEAR * rest.abs().max())


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


def largest(*tensors: Tensor) -> float:
    """The largest entry of several tensors."""
    return max((float(tensor.abs().max()) for tensor in tensors), default=0.0) or torch.finfo(torch.float64).tiny
