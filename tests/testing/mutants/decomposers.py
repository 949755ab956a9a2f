"""Decompositions whose rows do not add up: something forgotten, counted twice, or taken from the wrong place."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch

import dla
from dla.adapters import Heads, Neurons
from mutants.splitting import SplitsHeads, SplitsNeurons, layer_of, sublayers


@final
@dataclass(frozen=True)
class ForgetsOutputBias(SplitsHeads):
    """Attention is its heads, and nobody writes `b_O`."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [dla.HeadWrites(heads.z, heads.W_O, heads.labels, heads.route)]


@final
@dataclass(frozen=True)
class ForgetsNeuronBias(SplitsNeurons):
    """An MLP is its neurons, and nobody writes `b_out`."""

    def split(self, neurons: Neurons) -> Sequence[dla.Write]:
        return [neurons.write()]


@final
@dataclass(frozen=True)
class ForgetsPositions(dla.Decomposer):
    """The stream begins with the token embedding, and nobody adds the position's."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [model.embeddings()[0], *(sublayer.write for sublayer in sublayers(model))]


@final
@dataclass(frozen=True)
class ForgetsTheLastBlock(dla.Decomposer):
    """Counts the blocks from 1 to n - 1."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        blocks = [dla.SumOf(model.sublayers(i), dla.Label("block", i)) for i in range(model.n_layers - 1)]
        return [*model.embeddings(), *blocks]


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
class AddsFinalNormBiasAsRow(dla.Decomposer):
    """A row for the final norm's bias, as if it were written to the stream."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        plan = list(dla.ComponentDecomposer().writes(model))
        norm = model.anatomy.unembedding.norm
        if norm is None or norm.bias is None:
            return plan
        return [*plan, dla.Constant(norm.bias.detach(), dla.Label("ln_final_b"))]


@final
@dataclass(frozen=True)
class TakesHeadsBeforeThePostNorm(SplitsHeads):
    """Heads as `z @ W_O`, where a norm stands between that and the stream."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [dla.HeadWrites(heads.z, heads.W_O, heads.labels), *heads.biases()]


@final
@dataclass(frozen=True)
class ForgetsTheResidualMultiplier(SplitsHeads):
    """Follows the heads through the post-norm, and not through the constant that multiplies attention."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [dla.HeadWrites(heads.z, heads.W_O, heads.labels, dla.Route(heads.route.norm)), *heads.biases()]


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
class ReshapesWeightsTheOtherWay(SplitsHeads):
    """`W_O` as `[d_head, head]` instead of `[head, d_head]`, as another library stores it."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        count, d_head, _ = heads.W_O.shape
        weight = heads.W_O.flatten(0, 1).unflatten(0, (d_head, count)).transpose(0, 1)
        return [dla.HeadWrites(heads.z, weight, heads.labels, heads.route), *heads.biases()]


@final
@dataclass(frozen=True)
class TakesThePreviousLayersWeights(SplitsHeads):
    """Off by one: `W_O` of the block before; the first block has that of the last."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        before = model.anatomy.blocks[layer_of(heads) - 1].sublayers[0].heads
        assert before is not None
        return [dla.HeadWrites(heads.z, before.W_O, heads.labels, heads.route), *heads.biases()]


@final
@dataclass(frozen=True)
class ExpandsGroupedQueriesInTheWrongOrder(SplitsHeads):
    """Heads by the token that they read, with the values repeated `0 1 0 1` instead of `0 0 1 1`."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Entry]:
        def settle(prompts: dla.inputs.prompts.Prompts) -> dla.Write:
            values, count, width = heads.values, len(heads.W_O), prompts.tokens.shape[1]
            assert values is not None

            def expanded(v: torch.Tensor) -> torch.Tensor:
                v = values.v.read(v)
                return v.repeat(1, 1, count // v.shape[2], 1)

            labels = [
                dla.Label("source", head.layer, head.index, source=s, parent=head)
                for head in heads.labels
                for s in range(width)
            ]
            return dla.Sources(values.pattern, replace(values.v, read=expanded), heads.W_O, None, labels, heads.route)

        biases = [dla.Entry.of(write) for write in heads.biases()]
        return [dla.Entry(heads.label, settle), *biases]


@final
@dataclass(frozen=True)
class CountsAttentionTwice(dla.Decomposer):
    """What each half of a block adds, with the MLP's measured from the start of the block."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        plan = list(model.embeddings())
        for layer in range(model.n_layers):
            block = model.block(layer)
            pre, mid, post = block.resid_pre.site, (block.resid_mid or block.resid_pre).site, block.resid_post.site
            plan.append(dla.Change(pre, mid, dla.Label("first half", layer)))
            plan.append(dla.Change(pre, post, dla.Label("second half", layer)))
        return plan


@final
@dataclass(frozen=True)
class AddsUpTheStreams(dla.Decomposer):
    """The stream at each place, as rows that add up."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return dla.LayerDecomposer().writes(model)


@final
@dataclass(frozen=True)
class StopsBeforeTheLastBlock(dla.Decomposer):
    """The stream before each block; what the last one adds is in no row."""

    row_kind = dla.RowKind.CUMULATIVE

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [model.block(layer).resid_pre for layer in range(model.n_layers)]


@final
@dataclass(frozen=True)
class ForgetsTheSharedExpert(dla.Decomposer):
    """Routed experts only, where a shared expert works for every token."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        plan = list(model.embeddings())
        for sublayer in sublayers(model):
            experts = None if sublayer.experts is None else sublayer.experts.experts
            if experts is None or experts.shared is None:
                plan.append(sublayer.write)
            else:
                plan.append(replace(experts, shared=None, gate=None, parts=experts.parts[:-1]))
        return plan


@final
@dataclass(frozen=True)
class TransposesWeights(SplitsHeads):
    """`W_O` as the model's `Linear` keeps it, `[d_model, head d_head]`: nobody notices where the two are as long."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        weight = heads.W_O.flatten(0, 1).T.reshape(heads.W_O.shape)
        return [dla.HeadWrites(heads.z, weight, heads.labels, heads.route), *heads.biases()]
