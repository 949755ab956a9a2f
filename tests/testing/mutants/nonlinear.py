"""Decompositions whose rows are not what the direction reads of any vector."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

import dla
from dla.adapters import Heads
from dla.decomposers import Item, Rows
from dla.writes import Activations
from mutants.altered import AlteredWrite
from mutants.splitting import SplitsHeads


@final
@dataclass(frozen=True)
class SharesByMagnitude(SplitsHeads):
    """Heads as shares of their sublayer: each gets `|value| / Σ |value|` of the sum."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[Item]:
        def shared(rows: Rows) -> Rows:
            size = rows.values.abs()
            return replace(rows, values=rows.values.sum(0) * size / size.sum(0))

        return [dla.Entry.of(heads.write()).then(shared), *heads.biases()]


@final
@dataclass(frozen=True)
class AddsUpBySign(SplitsHeads):
    """One row for the heads that help, one for those that hurt: who is in which row changes with the direction."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[Item]:
        labels = [dla.Label(f"heads that {what}", heads.label.layer, parent=heads.label) for what in ("help", "hurt")]

        def by_sign(rows: Rows) -> Rows:
            values = rows.values
            return Rows(labels, torch.stack([values.clamp(min=0).sum(0), values.clamp(max=0).sum(0)]))

        return [dla.Entry(heads.label, lambda _: heads.write(), (by_sign,)), *heads.biases()]


@final
@dataclass(frozen=True)
class SharesByNorm(SplitsHeads):
    """Attention's output divided among its heads in proportion to the length of what each writes."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        def shares(write: dla.Write, activations: Activations) -> Tensor:
            norms = write.vectors(activations).norm(dim=-1)
            return norms / norms.sum(0)

        def contracting(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
            return write.contract(activations, direction).sum(-3, keepdim=True) * shares(write, activations)

        def showing(write: dla.Write, activations: Activations) -> Tensor:
            return write.vectors(activations).sum(0, keepdim=True) * shares(write, activations).unsqueeze(-1)

        return [AlteredWrite(heads.write(), contracting, showing), *heads.biases()]
