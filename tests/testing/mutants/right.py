"""Unusual decompositions that are right, and must pass without fuss."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

import dla
from dla.adapters import Heads, Neurons
from dla.decomposers import Item, Rows
from dla.inputs import Prompts
from dla.writes import Activations
from mutants.remainders import last_stream
from mutants.splitting import SplitsHeads, SplitsNeurons, layer_of, sublayers


@final
@dataclass(frozen=True)
class OneRow(dla.Decomposer):
    """One row for everything: the stream itself."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [dla.SumOf([last_stream(model)], dla.Label("everything"))]


@final
@dataclass(frozen=True)
class Kinds(dla.Decomposer):
    """One row for all attention, one for all MLPs."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        kinds: dict[str, list[dla.Write]] = {}
        for sublayer in sublayers(model):
            kinds.setdefault(sublayer.write.labels[0].kind, []).extend([sublayer.write, *sublayer.rounding])
        return [*model.embeddings(), *(dla.SumOf(writes, dla.Label(f"all {kind}")) for kind, writes in kinds.items())]


@final
@dataclass(frozen=True)
class BlockHalves(dla.Decomposer):
    """What each half of a block added, or each block where it has no halves."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        plan: list[dla.Write] = [dla.SumOf([model.block(0).resid_pre], dla.Label("start"))]
        for layer in range(model.n_layers):
            block = model.block(layer)
            places = [block.resid_pre, *([] if block.resid_mid is None else [block.resid_mid]), block.resid_post]
            for i, (before, after) in enumerate(itertools.pairwise(places)):
                carry = before.route.multiplier / after.route.multiplier
                plan.append(dla.Change(before.site, after.site, dla.Label("half", layer, i), after.route, carry))
        return plan


@final
@dataclass(frozen=True)
class SingularDirections(SplitsHeads):
    """One row for each singular direction of each head's `W_O`."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        U, S, V = torch.linalg.svd(heads.W_O.detach(), full_matrices=False)

        def rotated(z: Tensor) -> Tensor:
            return torch.einsum("bphi,hij->bphj", heads.z.read(z), U).flatten(2)

        labels = [
            dla.Label("direction", head.layer, i, f"{head} direction {i}", parent=head)
            for head in heads.labels
            for i in range(S.shape[1])
        ]
        weight = (S.unsqueeze(-1) * V).flatten(0, 1)
        return [dla.NeuronWrites(replace(heads.z, read=rotated), weight, labels, heads.route), *heads.biases()]


@final
@dataclass(frozen=True)
class HeadsByWhatTheyRead(SplitsHeads):
    """The heads of each block by the token that they attend to most: the first, the token itself, another one."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[Item]:
        if heads.values is None:
            return heads.writes()
        names = [f"{layer_of(heads)} heads that read {what}" for what in ("the first token", "themselves", "others")]
        labels = [dla.Label(name, parent=heads.label, text=name) for name in names]
        most = replace(heads.values.pattern, read=lambda pattern: _most(heads.values.pattern.read(pattern)))
        return [ByGroup(heads.write(), most, labels), *heads.biases()]


def _most(pattern: Float[Tensor, "batch head pos source"]) -> Tensor:
    """0 where the first token gets most attention, 1 where the token itself does, else 2."""
    source = pattern.argmax(-1)
    itself = source == torch.arange(pattern.shape[2], device=source.device)
    return torch.where(source == 0, 0, torch.where(itself, 1, 2))


@final
@dataclass(frozen=True, eq=False)
class ByGroup(dla.Write):
    """Heads put together by a number that each has at each position."""

    heads: dla.HeadWrites
    group: dla.Site
    parts: Sequence[dla.Label]

    @property
    def labels(self) -> Sequence[dla.Label]:
        return self.parts

    @property
    def reads(self) -> tuple[dla.Site, ...]:
        return (*self.heads.reads, self.group)

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        rows = self.heads.contract(activations, direction)
        return torch.einsum("ghbp,...hbp->...gbp", self._members(activations).to(rows), rows)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        rows = self.heads.vectors(activations)
        return torch.einsum("ghbp,hbpd->gbpd", self._members(activations).to(rows), rows)

    def _members(self, activations: Activations) -> Tensor:
        return torch.stack([activations[self.group].movedim(1, 0) == i for i in range(len(self.parts))])


@final
@dataclass(frozen=True)
class ReadsByToken(SplitsHeads):
    """What the heads of each block read from tokens with even ids, and from those with odd ones."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[Item]:
        if heads.values is None:
            return heads.writes()
        entries: list[Item] = [*heads.biases(), *heads.values.rounding]
        for remainder, word in enumerate(("even", "odd")):
            label = dla.Label(f"from {word} tokens", heads.label.layer, parent=heads.label)
            entries.append(dla.Entry(heads.label, partial(_reading, heads, remainder, label)))
        return entries


def _reading(heads: Heads, remainder: int, label: dla.Label, prompts: Prompts) -> dla.Write:
    """What heads read from some tokens: known only with the prompts, so that its site is made anew for each."""
    assert heads.values is not None
    pattern = heads.values.pattern
    chosen = (prompts.tokens % 2 == remainder)[:, None, None]
    masked = replace(pattern, read=lambda p: pattern.read(p) * chosen.to(p))
    sources = [dla.Label("source", i, s) for i in range(len(heads.W_O)) for s in range(prompts.tokens.shape[1])]
    return dla.SumOf([dla.Sources(masked, heads.values.v, heads.W_O, None, sources, heads.route)], label)


@final
@dataclass(frozen=True)
class HugeRowsThatCancel(dla.Decomposer):
    """The embedding a thousand times over, and minus 999 times: two rows that nearly cancel."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        plan: list[dla.Write] = []
        for write in model.embeddings():
            if not isinstance(write, dla.FullOutput):  # what adding the embeddings rounds away
                plan.append(write)
                continue
            for kind, factor in (("much", 1000.0), ("less", -999.0)):
                label = dla.Label(f"{kind} {write.label}", parent=write.label)
                plan.append(dla.FullOutput(write.site, label, write.route.after(factor)))
        return [*plan, *(write for layer in range(model.n_layers) for write in model.sublayers(layer))]


@final
@dataclass(frozen=True)
class RowsOfZero(dla.Decomposer):
    """Sublayers, and for each a row that is always zero."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        nothing = torch.zeros(model.anatomy.unembedding.W_U.shape[0])
        zeros = [dla.Constant(nothing, dla.Label("nothing", layer)) for layer in range(model.n_layers)]
        return [*dla.ComponentDecomposer().writes(model), *zeros]


@final
@dataclass(frozen=True)
class NoncontiguousViews(SplitsHeads):
    """Even and odd heads as strided views of `z` and `W_O`."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        plan: list[dla.Write] = list(heads.biases())
        for start in range(min(2, len(heads.W_O))):
            site = replace(heads.z, read=lambda z, start=start: heads.z.read(z)[:, :, start::2])
            weight = heads.W_O.transpose(-1, -2).contiguous().transpose(-1, -2)[start::2]
            plan.append(dla.HeadWrites(site, weight, heads.labels[start::2], heads.route))
        return plan


@final
@dataclass(frozen=True)
class EveryOtherPlace(dla.Decomposer):
    """Cumulative rows of one's own: the stream before every other block, and at the end."""

    row_kind = dla.RowKind.CUMULATIVE

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        streams = [model.block(layer).resid_pre for layer in range(0, model.n_layers, 2)]
        return [*streams, dla.SumOf([last_stream(model)], dla.Label("the end"))]


@final
@dataclass(frozen=True)
class NeuronsBySign(SplitsNeurons):
    """The neurons of each MLP that fire positively, and those that fire negatively: chosen by what they read."""

    def split(self, neurons: Neurons) -> Sequence[dla.Write]:
        plan: list[dla.Write] = list(neurons.biases())
        write = neurons.write()
        for kind, bound in (("positive", {"min": 0.0}), ("negative", {"max": 0.0})):
            site = replace(neurons.post, read=lambda post, bound=bound: neurons.post.read(post).clamp(**bound))
            label = dla.Label(f"{kind} neurons", neurons.label.layer, parent=neurons.label)
            plan.append(dla.SumOf([replace(write, site=site)], label))
        return plan


@final
@dataclass(frozen=True)
class OnlyTheStrongestHeads(SplitsHeads):
    """The head of each block that reads the direction most, and the others as one: the rows that are shown depend."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[Item]:
        others = dla.Label("other heads", layer_of(heads), parent=heads.label)
        strongest = dla.decomposers.top_k.TopK(1, others, "head")
        return [dla.Entry(heads.label, lambda _: heads.write(), (strongest,)), *heads.biases()]


@final
@dataclass(frozen=True)
class EarlyAndLate(dla.Decomposer):
    """Heads and neurons of one plan, put into two groups by layer."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[Item]:
        def late(label: dla.Label) -> dla.Label:
            return dla.Label("group", text="late" if (label.layer or 0) >= model.n_layers / 2 else "early")

        def together(rows: Rows) -> Rows:
            return replace(rows, labels=[late(label) for label in rows.labels])

        mixed = dla.HeadDecomposer() | dla.NeuronDecomposer()
        return [dla.Entry.of(item).then(together) for item in mixed.writes(model)]


@final
@dataclass(frozen=True)
class RandomButTheSame(SplitsHeads):
    """Every head in a basis that is drawn by chance, from one seed."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        count, width, _ = heads.W_O.shape
        drawn = torch.randn(count, width, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        basis = torch.linalg.qr(drawn).Q

        def rotated(z: Tensor) -> Tensor:
            return torch.einsum("bphi,hij->bphj", heads.z.read(z).to(basis), basis).flatten(2)

        labels = [
            dla.Label("basis", head.layer, width * i + j, parent=head)
            for i, head in enumerate(heads.labels)
            for j in range(width)
        ]
        weight = torch.einsum("hij,hid->hjd", basis, heads.W_O.detach().double()).flatten(0, 1)
        return [dla.NeuronWrites(replace(heads.z, read=rotated), weight, labels, heads.route), *heads.biases()]


@final
@dataclass(frozen=True)
class OnlyTheLastBlock(dla.Decomposer):
    """What enters the last block as one row, and what that block adds, head by head."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[Item]:
        block = model.block(model.n_layers - 1)
        rows = [write for s in block.sublayers for write in ([s.write] if s.heads is None else s.heads.writes())]
        rows += [write for s in block.sublayers for write in s.rounding]
        return [dla.SumOf([block.resid_pre], dla.Label("everything before")), *rows]
