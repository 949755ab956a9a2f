"""Writes of one's own that break what a write promises: what they read, what they show, how exactly they add."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

import dla
from dla.adapters import Heads
from dla.writes import Activations
from mutants.altered import AlteredWrite
from mutants.splitting import SplitsHeads


@final
@dataclass(frozen=True)
class ContractsBeforeThePostNorm(SplitsHeads):
    """Pulls the direction back through `W_O` and forgets the norm on the way; the vectors it shows are right."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        def contracting(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
            return dla.HeadWrites(heads.z, heads.W_O, heads.labels).contract(activations, direction)

        return [AlteredWrite(heads.write(), contracting), *heads.biases()]


@final
@dataclass(frozen=True)
class KeepsAReadSecret(SplitsHeads):
    """Does not say that it reads the scale of the post-norm, which another write happens to read."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [AlteredWrite(heads.write(), declared=(heads.z,)), *heads.biases()]


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

        return [AlteredWrite(heads.write(), contracting), *heads.biases()]


@final
@dataclass(frozen=True)
class AddsInSinglePrecision(SplitsHeads):
    """Sums in float32, whatever the model's precision."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        def contracting(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
            single = {site: value.float() for site, value in activations.items()}
            return write.contract(single, direction.float()).to(direction)

        return [AlteredWrite(heads.write(), contracting), *heads.biases()]
