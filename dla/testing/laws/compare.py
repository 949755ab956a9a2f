"""Two ways to the same numbers: where they differ most, and by how much."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.decomposers.rows import RowKind
from dla.results.attribution import Attribution

ALLOWED_ROUNDINGS = 64.0
"""How many rounding units, of the size of the numbers that cancel, two ways to the same number may differ by."""


@final
@dataclass(frozen=True)
class Deviation:
    """Where two tensors differ most, relative to what is allowed.

    Attributes:
        where: The index there.
        expected: What there should be.
        got: What there is.
        allowed: The difference that rounding excuses.
    """

    where: tuple[int, ...]
    expected: float
    got: float
    allowed: float

    def __str__(self) -> str:
        error = abs(self.got - self.expected)
        return f"expected {self.expected:+.6g}, got {self.got:+.6g} (off by {error:.1e}, allowed {self.allowed:.1e})"


def deviation(
    got: Float[Tensor, "*shape"], expected: Float[Tensor, "*shape"], size: Float[Tensor, "*#shape"] | float, eps: float
) -> Deviation | None:
    """Where two tensors differ by more than rounding; None if they do not.

    Args:
        got: What there is.
        expected: What there should be. NaN stands for NaN.
        size: How large the numbers are that were added up.
        eps: The rounding unit.
    """
    got, expected = got.detach().double().cpu(), expected.detach().double().cpu()
    sizes = torch.as_tensor(size).detach().double().cpu()
    allowed = (ALLOWED_ROUNDINGS * eps * sizes).expand_as(got).clamp(min=1e-30)
    error = torch.where(got.isnan() & expected.isnan(), 0.0, (got - expected).abs())
    excess = (error / allowed).nan_to_num(nan=torch.inf)
    if excess.numel() == 0 or bool((excess <= 1).all()):
        return None
    where = tuple(int(i) for i in torch.unravel_index(excess.argmax(), excess.shape))
    return Deviation(where, float(expected[where]), float(got[where]), float(allowed[where]))


def sum_size(result: Attribution) -> Float[Tensor, "*batch_and_pos"]:
    """How large the numbers of an attribution are before they cancel: `Σ |row| + |constant| + |logit|`."""
    rows = result.values.abs()
    size = rows.sum(0) if result.provenance.row_kind == RowKind.ADDITIVE.value else rows.amax(0)
    return size + result.constant.abs() + result.logit.abs()


def largest_size(*results: Attribution) -> float:
    """The largest of those sizes, over prompts and positions; never 0."""
    return max(float(sum_size(result).nan_to_num(0.0).max()) for result in results) or 1e-30
