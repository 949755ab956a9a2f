"""Decompositions whose rows do not add up: something forgotten, counted twice, or taken from the wrong place."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch

import dla
from dla.adapters import Heads
from mutants.splitting import SplitsHeads


@final
@dataclass(frozen=True)
class ForgetsOutputBias(SplitsHeads):
    """Attention is its heads, and nobody writes `b_O`."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [dla.HeadWrites(heads.z, heads.W_O, heads.labels, heads.route)]


@final
@dataclass(frozen=True)
class AddsValueBiasTwice(SplitsHeads):
    """A row for the value bias, which `z` holds already."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        if heads.values is None or heads.values.b_V is None:
            return heads.writes()
        b_V = heads.values.b_V.repeat_interleave(len(heads.W_O) // len(heads.values.b_V), 0)
        bias = torch.einsum("hi,hid->d", b_V, heads.W_O).detach()
        label = dla.Label("b_V", heads.label.layer, parent=heads.label)
        return [*heads.writes(), dla.Constant(bias, label, heads.route)]


@final
@dataclass(frozen=True)
class TakesHeadsBeforeThePostNorm(SplitsHeads):
    """Heads as `z @ W_O`, where a norm stands between that and the stream."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [dla.HeadWrites(heads.z, heads.W_O, heads.labels), *heads.biases()]


@final
@dataclass(frozen=True)
class AddsOutputBiasUnmultiplied(SplitsHeads):
    """Multiplies the heads as the model does, and adds `b_O` as it is."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        if heads.b_O is None:
            return heads.writes()
        return [heads.write(), dla.Constant(heads.b_O, dla.Label("b_O", heads.label.layer, parent=heads.label))]


@final
@dataclass(frozen=True)
class TakesThePostNormsFirstScale(SplitsHeads):
    """Divides by the scale that the post-norm has at the first position, at all of them."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        norm = heads.route.norm
        if norm is None:
            return heads.writes()
        first = replace(norm.scale, read=lambda scale: norm.scale.read(scale)[:, :1].expand(scale.shape[:2]))
        route = replace(heads.route, norm=replace(norm, scale=first))
        return [dla.HeadWrites(heads.z, heads.W_O, heads.labels, route), *heads.biases()]


@final
@dataclass(frozen=True)
class SwapsTwoHeads(SplitsHeads):
    """The first two heads have each other's `W_O`."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        order = [1, 0, *range(2, len(heads.W_O))]
        return [dla.HeadWrites(heads.z, heads.W_O[order], heads.labels, heads.route), *heads.biases()]


@final
@dataclass(frozen=True)
class StopsBeforeTheLastBlock(dla.Decomposer):
    """The stream before each block; what the last one adds is in no row."""

    row_kind = dla.RowKind.CUMULATIVE

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [model.block(layer).resid_pre for layer in range(model.n_layers)]


@final
@dataclass(frozen=True)
class ForgetsRounding(dla.Decomposer):
    """Each sublayer as it is, without what adding it to the stream rounds away in half precision."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [
            *(write for write in model.embeddings() if not isinstance(write, dla.Rounding)),
            *(sublayer.write for layer in range(model.n_layers) for sublayer in model.block(layer).sublayers),
        ]


@final
@dataclass(frozen=True)
class LeavesOutUnfinishedBlocks(dla.Decomposer):
    """Splits blocks of two sublayers, which all are; but what an MLP read was written in a block of one."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        whole = [block for block in model.anatomy.blocks if len(block.sublayers) == 2]
        return [*model.embeddings(), *(write for block in whole for write in block.writes())]
