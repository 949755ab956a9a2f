"""Writes that change what they are shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

import dla
from dla.adapters import Heads
from dla.writes import Activations
from mutants.splitting import SplitsHeads
from mutants.writes import OfHeads


@final
@dataclass(frozen=True)
class CentresTheDirection(SplitsHeads):
    """Centres the direction in place: other writes are then read with another direction."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        def contracting(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
            direction -= direction.mean(-1, keepdim=True)
            return write.contract(activations, direction)

        return [OfHeads(heads.write(), contracting), *heads.biases()]


@final
@dataclass(frozen=True)
class DividesTheActivation(SplitsHeads):
    """Scales what it reads in place and the weights the other way: right once, and wrong for who reads it next."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        def contracting(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
            activations[heads.z].div_(8.0)
            return 8.0 * write.contract(activations, direction)

        return [OfHeads(heads.write(), contracting), *heads.biases()]
