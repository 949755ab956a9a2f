"""Decompositions that remember, draw by chance, or change what is not theirs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

import dla
from dla.adapters import Heads
from dla.decomposers import Item
from dla.writes import Activations
from mutants.altered import AlteredWrite
from mutants.splitting import SplitsHeads


@final
@dataclass(frozen=True)
class RemembersTheFirstPrompt(SplitsHeads):
    """Keeps the first activation that it read, and reads it again for every prompt of the same size."""

    kept: dict[object, Tensor] = field(default_factory=dict, compare=False)

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        def remembered(z: Tensor) -> Tensor:
            return self.kept.setdefault((heads.label, z.shape, z.dtype), heads.z.read(z).clone())

        return [
            dla.HeadWrites(replace(heads.z, read=remembered), heads.W_O, heads.labels, heads.route),
            *heads.biases(),
        ]


@final
@dataclass(frozen=True)
class DropsSmallActivations(SplitsHeads):
    """Sets small activations to zero to make rows sparse, in the model's own tensor."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        def sparse(z: Tensor) -> Tensor:
            z = heads.z.read(z)
            return z.masked_fill_(z.abs() < 0.3 * z.abs().max(), 0.0)

        return [dla.HeadWrites(replace(heads.z, read=sparse), heads.W_O, heads.labels, heads.route), *heads.biases()]


@final
@dataclass(frozen=True)
class CountsOnTheOrder(dla.Decomposer):
    """What each block gained since the stream was last looked at: right as long as blocks come one after the other."""

    last: dict[str, Tensor] = field(default_factory=dict, compare=False)

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        def start(x: Tensor) -> Tensor:
            self.last["stream"] = x
            return x

        def gained(x: Tensor) -> Tensor:
            before = self.last["stream"]
            self.last["stream"] = x
            return x - before

        first = model.block(0).resid_pre.site
        plan: list[dla.Write] = [dla.FullOutput(replace(first, read=start), dla.Label("start"))]
        for layer in reversed(range(model.n_layers)):
            site = model.block(layer).resid_post.site
            plan.append(dla.FullOutput(replace(site, read=gained), dla.Label("gain", layer)))
        return plan


@final
@dataclass(frozen=True)
class RemembersTheFirstModel(dla.Decomposer):
    """Makes its plan once, and returns it for every other model, too."""

    kept: dict[str, Sequence[dla.Write]] = field(default_factory=dict, compare=False)

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return self.kept.setdefault("plan", dla.HeadDecomposer().writes(model))


@final
@dataclass(frozen=True)
class CentresTheDirection(SplitsHeads):
    """Centres the direction in place: other writes are then read with another direction."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        def contracting(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
            direction -= direction.mean(-1, keepdim=True)
            return write.contract(activations, direction)

        return [AlteredWrite(heads.write(), contracting), *heads.biases()]


@final
@dataclass(frozen=True)
class CentresTheWeights(dla.Decomposer):
    """Centres what heads write, in the model's own weights: the second time there is nothing left to change."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[Item]:
        plan = list(dla.HeadDecomposer().writes(model))
        with torch.no_grad():
            for write in plan:
                if isinstance(write, dla.HeadWrites):
                    write.weight.sub_(write.weight.mean(-1, keepdim=True))
        return plan
