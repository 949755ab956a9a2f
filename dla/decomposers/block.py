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
    """One part for each block, `3_block`: the sum of its sublayers; and one for each embedding."""

    def writes(self, model: ModelAdapter) -> Sequence[Write]:
        plan = list(model.embeddings())
        for layer in range(model.n_layers):
            sublayers = model.block(layer).sublayers
            plan += [SumOf([sub.write for sub in sublayers], Label("block", layer))] if sublayers else []
            # Not in the block's sum: all that is rounded away is one row of the result.
            plan += [write for sublayer in sublayers for write in sublayer.rounding]
        return plan
