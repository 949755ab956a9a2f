"""Decompositions that mix up prompts and positions: the batch, the padding, the wrong place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

import dla
from dla.adapters import Heads
from dla.writes import Activations
from mutants.altered import AlteredWrite
from mutants.splitting import SplitsHeads


@final
@dataclass(frozen=True)
class AveragesOverThePadding(SplitsHeads):
    """Each head's mean over all positions of the batch's tensor, padding among them, and what is special here."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        def mean(z: Tensor) -> Tensor:
            return heads.z.read(z).mean(1, keepdim=True).expand_as(heads.z.read(z))

        return [*_both(heads, mean, "mean"), *heads.biases()]


def _both(heads: Heads, mean: Callable[[Tensor], Tensor], kind: str) -> list[dla.Write]:
    means = [dla.Label(kind, label.layer, label.index, parent=label) for label in heads.labels]
    own = [dla.Label("own", label.layer, label.index, parent=label) for label in heads.labels]
    differing = replace(heads.z, read=lambda z: heads.z.read(z) - mean(z))
    return [
        dla.HeadWrites(replace(heads.z, read=mean), heads.W_O, means, heads.route),
        dla.HeadWrites(differing, heads.W_O, own, heads.route),
    ]


@final
@dataclass(frozen=True)
class ForgetsToTakeThePosition(SplitsHeads):
    """Reads only the first of the positions that were asked about: right for one, wrong for several."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        def contracting(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
            values = write.contract(activations, direction)
            return values[..., :1].expand_as(values)

        return [AlteredWrite(heads.write(), contracting), *heads.biases()]
