"""Writes of one's own that break what a write promises: what they read, what they show, how exactly they add."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

import dla
from dla.adapters import Heads
from dla.writes import Activations
from mutants.splitting import SplitsHeads

Rule = Callable[[dla.Write, Activations, Tensor], Tensor]


@final
@dataclass(frozen=True, eq=False)
class OfHeads(dla.Write):
    """Heads, contracted and shown by rules of one's own."""

    heads: dla.HeadWrites
    contracting: Rule
    showing: Callable[[dla.HeadWrites, Activations], Tensor] = lambda heads, activations: heads.vectors(activations)
    declared: Sequence[dla.Site] | None = None

    @property
    def labels(self) -> Sequence[dla.Label]:
        return self.heads.labels

    @property
    def reads(self) -> tuple[dla.Site, ...]:
        return self.heads.reads if self.declared is None else tuple(self.declared)

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        return self.contracting(self.heads, activations, direction)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        return self.showing(self.heads, activations)


def as_it_is(heads: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
    """What a right write contracts."""
    return heads.contract(activations, direction)


@final
@dataclass(frozen=True)
class ContractsBeforeThePostNorm(SplitsHeads):
    """Pulls the direction back through `W_O` and forgets the norm on the way; the vectors it shows are right."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        def contracting(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
            return dla.HeadWrites(heads.z, heads.W_O, heads.labels).contract(activations, direction)

        return [OfHeads(heads.write(), contracting), *heads.biases()]


@final
@dataclass(frozen=True)
class ShowsVectorsBeforeThePostNorm(SplitsHeads):
    """Contracts right, and shows vectors that are not in the stream's units."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        def showing(write: dla.HeadWrites, activations: Activations) -> Tensor:
            return dla.HeadWrites(heads.z, heads.W_O, heads.labels).vectors(activations)

        return [OfHeads(heads.write(), as_it_is, showing), *heads.biases()]


@final
@dataclass(frozen=True)
class KeepsAReadSecret(SplitsHeads):
    """Does not say that it reads the scale of the post-norm, which another write happens to read."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [OfHeads(heads.write(), as_it_is, declared=(heads.z,)), *heads.biases()]


@final
@dataclass(frozen=True)
class AddsInHalfPrecision(SplitsHeads):
    """Sums in float16, to save memory."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        def contracting(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
            z, W_O = activations[heads.z].half(), heads.W_O.half()
            pulled = torch.einsum("hid,...d->...hi", W_O, heads.route.pull_back(direction).half())
            values = (z * pulled).sum(-1).movedim(-1, -3).to(direction)
            return heads.route.rescale(values, activations)

        return [OfHeads(heads.write(), contracting), *heads.biases()]


@final
@dataclass(frozen=True)
class AddsInSinglePrecision(SplitsHeads):
    """Sums in float32, whatever the model's precision."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        def contracting(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
            single = {site: value.float() for site, value in activations.items()}
            return write.contract(single, direction.float()).to(direction)

        return [OfHeads(heads.write(), contracting), *heads.biases()]
