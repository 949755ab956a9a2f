"""Decompositions that are right for a few ordinary words, or in their last row only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import torch
from torch import Tensor

import dla
from dla.decomposers import Item
from dla.inputs import Prompts
from mutants.remainders import last_stream


def _masked(model: dla.ModelAdapter, keep: Callable[[Prompts], Tensor]) -> Sequence[Item]:
    """The components, with the embedding of some tokens only."""
    embed, *others = dla.ComponentDecomposer().writes(model)
    assert isinstance(embed, dla.FullOutput)

    def make(prompts: Prompts) -> dla.Write:
        kept = keep(prompts).unsqueeze(-1)
        return replace(embed, site=replace(embed.site, read=lambda x: embed.site.read(x) * kept.to(x)))

    return [dla.Entry(embed.label, make), *others]


@final
@dataclass(frozen=True)
class MasksThePaddingToken(dla.Decomposer):
    """Leaves the padding token out wherever it stands, also where it is text."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[Item]:
        return _masked(model, lambda prompts: prompts.tokens != model.vocabulary.pad)


@final
@dataclass(frozen=True)
class ReadsSixteenTokens(dla.Decomposer):
    """A table of sixteen positions, as prompts at hand were no longer."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[Item]:
        return _masked(model, lambda prompts: (torch.arange(prompts.tokens.shape[1]) < 16)[None])


@final
@dataclass(frozen=True)
class CutsOffEarlyStreams(dla.Decomposer):
    """The stream before each block with large entries cut off; the last row, which everybody adds up, is right."""

    row_kind = dla.RowKind.CUMULATIVE

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [*(_cut(model.block(layer).resid_pre) for layer in range(model.n_layers)), last_stream(model)]


def _cut(stream: dla.FullOutput) -> dla.FullOutput:
    return replace(stream, site=replace(stream.site, read=partial(_clamped, stream.site)))


def _clamped(site: dla.Site, x: Tensor) -> Tensor:
    return site.read(x).clamp(-2.0, 2.0)
