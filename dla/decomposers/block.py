"""Whole blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Decomposer
from dla.labels import Label
from dla.writes import SumOf, Write


@final
@dataclass(frozen=True)
class BlockDecomposer(Decomposer):
    """One part for each block, `3_block`: the sum of its sublayers. The embeddings keep theirs."""

    def writes(self, model: ModelAdapter) -> Sequence[Write]:
        blocks = [(Label("block", layer), model.sublayers(layer)) for layer in range(model.n_layers)]
        return [*model.embeddings(), *(SumOf(writes, label) for label, writes in blocks if writes)]
