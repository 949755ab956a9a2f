"""Decompositions that add up with rows that are called, counted or chosen wrongly."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import final

import torch

import dla
from dla.adapters import Heads
from dla.decomposers import Item
from mutants.splitting import SplitsHeads, sublayers


@final
@dataclass(frozen=True)
class NamesHeadsInReverse(SplitsHeads):
    """Each head's row has the name of another."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [dla.HeadWrites(heads.z, heads.W_O, heads.labels[::-1], heads.route), *heads.biases()]


@final
@dataclass(frozen=True)
class LeavesTheBiasWithoutParent(SplitsHeads):
    """Heads are pieces of attention; its bias says that it is a piece of nothing."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        if heads.b_O is None:
            return heads.writes()
        return [heads.write(), dla.Constant(heads.b_O, dla.Label("output bias", heads.label.layer), heads.route)]


@final
@dataclass(frozen=True)
class UsesOneNameTwice(dla.Decomposer):
    """Sublayers without the number of their block."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        named = [dla.SumOf([s.write], dla.Label(s.write.labels[0].kind)) for s in sublayers(model)]
        return [*model.embeddings(), *named]


@final
@dataclass(frozen=True)
class NamesMoreRowsThanThereAre(SplitsHeads):
    """A name for each query head and one for each key head, for a write of query heads."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        keys = [dla.Label("key head", heads.label.layer, i) for i in range(len(heads.W_O))]
        return [dla.HeadWrites(heads.z, heads.W_O, [*heads.labels, *keys], heads.route), *heads.biases()]


@final
@dataclass(frozen=True)
class RunsTheModelToPlan(dla.Decomposer):
    """Runs the model on a prompt of its own to see which sublayers matter, and splits only those."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        sizes: dict[int, float] = {}

        def observer(layer: int) -> dla.adapters.base.Observer:
            return lambda stream: sizes.update({layer: float(stream.norm())})

        streams = {model.block(layer).resid_post.site.name: observer(layer) for layer in range(model.n_layers)}
        model.run(torch.tensor([[1, 2, 3]]), streams, None)
        return dla.HeadDecomposer(layers=[max(sizes, key=sizes.__getitem__)]).writes(model)


@final
@dataclass(frozen=True)
class PlansSomethingElseEachTime(dla.Decomposer):
    """Remembers how often it was asked, and splits another block every time."""

    asked: "itertools.count[int]" = field(default_factory=itertools.count, compare=False)

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return dla.HeadDecomposer(layers=[next(self.asked) % model.n_layers]).writes(model)


@final
@dataclass(frozen=True)
class GroupsHeadsByChance(SplitsHeads):
    """Two groups of heads, drawn whenever a plan is made."""

    generator: random.Random = field(default_factory=lambda: random.Random(0), compare=False)

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[Item]:
        names = [
            dla.Label(f"group {self.generator.randrange(2)}", heads.label.layer, parent=heads.label) for _ in heads.W_O
        ]
        chosen = dict(zip(heads.labels, names, strict=True))

        def together(rows: dla.Rows) -> dla.Rows:
            return dla.decomposers.rows.added_up(dla.Rows([chosen[label] for label in rows.labels], rows.values))

        return [dla.Entry(heads.label, lambda _: heads.write(), (together,)), *heads.biases()]


@final
@dataclass(frozen=True)
class TakesFoldingForGranted(SplitsHeads):
    """In compatibility mode takes the value bias out of the heads and puts it into `b_O`, though it was not folded."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        if not model.anatomy.compatibility or heads.values is None or heads.values.b_V is None or heads.b_O is None:
            return heads.writes()
        b_V = heads.values.b_V.detach()
        z = replace(heads.z, read=lambda z: heads.z.read(z) - b_V)
        folded = heads.b_O.detach() + torch.einsum("hi,hid->d", b_V, heads.W_O.detach())
        bias = dla.Label("b_O", heads.label.layer, parent=heads.label)
        return [dla.HeadWrites(z, heads.W_O, heads.labels, heads.route), dla.Constant(folded, bias, heads.route)]


@final
@dataclass(frozen=True)
class YieldsItsWrites(dla.Decomposer):
    """A generator, which is empty when it is gone over for the second time."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return (write for write in dla.ComponentDecomposer().writes(model))  # type: ignore[return-value]  # the mistake
