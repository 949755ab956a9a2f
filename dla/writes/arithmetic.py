"""The model's own arithmetic, step by step: the exact result of a step, and how far rounding may move it.

It has two uses. A model is recognised by its steps: what its hooks show must be the result of the step, entry by entry.
And when it runs in half precision, the difference between the two is rounding, and becomes a row.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.writes.blocks import norms_of_some_rows, product, product_and_norms
from dla.writes.routes import Activations, Norm
from dla.writes.sites import Site

# How many rounding units a matrix product may be wrong by, relative to the product of the norms of row and column. Sums
# in blocks, as kernels make them, stay below 1; the rest is for what a norm or an expert does besides its sums.
_SUMS = 16.0

# How many roundings a norm may make of its result: the scale, the division, the weight, the bias.
_NORM = 4

# A little more than one rounding, since the exact value is itself computed in float32.
_SPARE = 1.02


@final
@dataclass(frozen=True)
class Precision:
    """How exact the steps of some arithmetic are.

    Attributes:
        unit: The largest error of one rounding, relative to what is rounded.
        sums: The largest error of a sum of products, relative to the product of the norms of what is multiplied.
        least: The largest error of one rounding near 0.
    """

    unit: float
    sums: float
    least: float

    @staticmethod
    def of(dtype: torch.dtype) -> "Precision":
        """The precision of a dtype. Matrix products in half precision are summed in float32."""
        info, single = torch.finfo(dtype), torch.finfo(torch.float32)
        if is_half(dtype):
            return Precision(_SPARE * info.eps / 2, _SUMS * single.eps, info.smallest_normal * info.eps)
        return Precision(info.eps, _SUMS * info.eps, info.smallest_normal)

    def added_in(self, update: float) -> "Precision":
        """The precision of a product whose weight is the sum of a weight and an update in two factors, as LoRA's is.

        Rounded are each of the two products, their sum, and the result of the update's first factor.

        Args:
            update: How large the update is, relative to the sum.
        """
        return Precision(2 * self.unit, (1 + 2 * update) * self.sums + 4 * update * self.unit, self.least)


def is_half(dtype: torch.dtype) -> bool:
    """Whether a dtype is coarser than float32."""
    return dtype.is_floating_point and torch.finfo(dtype).eps > torch.finfo(torch.float32).eps


def precisions_of(seen: torch.dtype, *others: torch.dtype) -> list[Precision]:
    """The precisions that a step may have, the finest first: that of its result, of its coarsest input, and float32.

    A model in float64 may have steps in float32, and a float32 stream may have parts in half precision.

    Args:
        seen: The dtype of the result.
        others: The dtypes of the inputs.
    """
    coarsest = max((seen, *others), key=lambda dtype: torch.finfo(dtype).eps)
    single = torch.float32 if coarsest == torch.float64 else coarsest
    return [Precision.of(dtype) for dtype in dict.fromkeys((seen, coarsest, single))]


@final
@dataclass(frozen=True, eq=False)
class BoundedValue:
    """The result of a step.

    Attributes:
        value: The exact result.
        slack: How far the model's own result may be from it by rounding, entry by entry.
    """

    value: Float[Tensor, "batch pos *d"]
    slack: Float[Tensor, "batch pos *d"]

    @staticmethod
    def of_product(
        value: Float[Tensor, "batch pos *d"],
        size: Float[Tensor, "#batch #pos *d"],
        bias: Float[Tensor, "*d_bias"] | None,
        precision: Precision,
    ) -> "BoundedValue":
        """A sum of products, and a bias added to it afterwards.

        Args:
            value: The sum, without the bias.
            size: The product of the norms of what is multiplied, entry by entry.
            bias: The bias; None if there is none.
            precision: That of the product.
        """
        rounded = value.abs()
        if bias is not None:
            bias = bias.detach().to(value)
            value, size = value + bias, size + bias.abs()
            rounded = rounded + value.abs()  # the product is rounded, and then the sum
        return BoundedValue(value, precision.unit * rounded + precision.sums * size + precision.least)

    def misses(self, seen: Float[Tensor, "batch pos *d"]) -> bool:
        """Whether what was seen cannot be this result."""
        return seen.shape != self.value.shape or not bool(((seen - self.value).abs() <= self.slack).all())


class Computation(abc.ABC):
    """One step of the model's arithmetic, from what hooks show before it to what they show after it.

    Law: what the model has after the step is within `slack` of `value`.
    """

    @property
    @abc.abstractmethod
    def reads(self) -> tuple[Site, ...]:
        """Every site that it needs."""

    @abc.abstractmethod
    def at(self, activations: Activations) -> BoundedValue:
        """The result of the step for these activations."""

    def misses(self, activations: Activations, seen: Float[Tensor, "batch pos *d"]) -> bool:
        """Whether what was seen cannot be the result.

        Args:
            activations: What the step reads.
            seen: What the model has after it.
        """
        return self.at(activations).misses(seen)


@final
@dataclass(frozen=True, eq=False)
class HookValue(Computation):
    """An activation as a hook shows it; nothing is computed."""

    site: Site

    @property
    def reads(self) -> tuple[Site, ...]:
        return (self.site,)

    def at(self, activations: Activations) -> BoundedValue:
        return BoundedValue(activations[self.site], torch.zeros_like(activations[self.site]))


@final
@dataclass(frozen=True, eq=False)
class Addition(Computation):
    """`Σ factor * term`: how a block adds to its stream."""

    terms: Sequence[tuple[Site, float]]
    precision: Precision

    @property
    def reads(self) -> tuple[Site, ...]:
        return tuple(site for site, _ in self.terms)

    def at(self, activations: Activations) -> BoundedValue:
        terms = [activations[site] if factor == 1.0 else activations[site] * factor for site, factor in self.terms]
        value = sum(terms[1:], terms[0])
        roundings = len(terms) - 1 + sum(factor != 1.0 for _, factor in self.terms)
        # One addition is wrong by half a unit of its result. Of several the results in between are not known: each is
        # at most the sum of all sizes.
        size = value.abs() if len(terms) <= 2 and roundings <= 1 else torch.stack([t.abs() for t in terms]).sum(0)
        return BoundedValue(value, self.precision.unit * max(roundings, 1) * size + self.precision.least)


@final
@dataclass(frozen=True, eq=False)
class Product(Computation):
    """`x @ weight + bias`, with all axes of `x` after the position as one: heads and `W_O`, neurons and `W_out`."""

    x: Site
    weight: Float[Tensor, "d_in d_out"]
    bias: Float[Tensor, " d_out"] | None
    precision: Precision

    @property
    def reads(self) -> tuple[Site, ...]:
        return (self.x,)

    def at(self, activations: Activations) -> BoundedValue:
        x = activations[self.x].flatten(2)
        value, norms = product_and_norms(x, self.weight)
        return BoundedValue.of_product(value, x.norm(dim=-1, keepdim=True) * norms, self.bias, self.precision)

    def misses(self, activations: Activations, seen: Float[Tensor, "batch pos *d"]) -> bool:
        # The norms take as long as the product. Those of a part of the rows are smaller, and mostly say enough.
        x = activations[self.x].flatten(2)
        size = x.norm(dim=-1, keepdim=True) * norms_of_some_rows(self.weight, x)
        least = BoundedValue.of_product(product(x, self.weight), size, self.bias, self.precision)
        return least.misses(seen) and super().misses(activations, seen)


@final
@dataclass(frozen=True, eq=False)
class PerHeadProducts(Computation):
    """`Σ_h x[h] @ weight[h] + bias` with every term rounded first: `Product` in a model with `use_attn_result`."""

    x: Site
    weight: Float[Tensor, "part d_in d_out"]
    bias: Float[Tensor, " d_out"] | None
    precision: Precision

    @property
    def reads(self) -> tuple[Site, ...]:
        return (self.x,)

    def at(self, activations: Activations) -> BoundedValue:
        whole = Product(self.x, self.weight.flatten(0, 1), self.bias, self.precision).at(activations)
        x = activations[self.x].flatten(2).abs()
        # Twice a unit of every term: it is rounded itself, and so is the sum after it is added.
        terms = x @ self.weight.detach().flatten(0, 1).to(x).abs()
        return BoundedValue(whole.value, whole.slack + 2 * self.precision.unit * terms)


@final
@dataclass(frozen=True, eq=False)
class PatternProduct(Computation):
    """`z = pattern @ v`: what attention heads move; several heads may share values."""

    pattern: Site
    v: Site
    precision: Precision

    @property
    def reads(self) -> tuple[Site, ...]:
        return (self.pattern, self.v)

    def at(self, activations: Activations) -> BoundedValue:
        pattern, v = activations[self.pattern], activations[self.v]
        # [batch source group d_head] -> [batch source head d_head]: consecutive heads share a group
        v = v.repeat_interleave(pattern.shape[1] // v.shape[2], 2)
        value = torch.einsum("bhqs,bshd->bqhd", pattern, v)
        size = torch.einsum("bhq,bhd->bqhd", pattern.norm(dim=-1), v.norm(dim=1))
        return BoundedValue.of_product(value, size, None, self.precision)


@final
@dataclass(frozen=True, eq=False)
class NormOutput(Computation):
    """A norm of the result of another step: `weight * C(x) / scale + bias`, times a constant."""

    x: Computation
    norm: Norm
    precision: Precision
    multiplier: float = 1.0

    @property
    def reads(self) -> tuple[Site, ...]:
        return tuple(dict.fromkeys((*self.x.reads, self.norm.scale)))

    def at(self, activations: Activations) -> BoundedValue:
        norm, x = self.norm, self.x.at(activations)
        scale = activations[norm.scale]
        value = norm.push_forward(x.value, scale)
        spread, slack = x.value.abs(), x.slack
        # What `x` itself may be wrong by passes through the norm; centring adds the mean of all entries to each.
        if norm.centred:
            spread, slack = (each + each.mean(-1, keepdim=True) for each in (spread, slack))
        factor = 1.0 / scale.unsqueeze(-1)
        factor = factor if norm.weight is None else factor * norm.weight.detach().to(value).abs()
        rounded = value.abs()
        if norm.bias is not None:
            bias = norm.bias.detach().to(value)
            value, rounded = value + bias, rounded + bias.abs()
        precision = self.precision
        slack = _NORM * precision.unit * rounded + factor * (precision.sums * spread + slack)
        return BoundedValue(value * self.multiplier, slack * abs(self.multiplier) + precision.least)
