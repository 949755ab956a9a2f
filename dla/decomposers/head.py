"""Attention heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Decomposer
from dla.writes import Write


@final
@dataclass(frozen=True)
class HeadDecomposer(Decomposer):
    """One part for each attention head, `L9H6`, and one for each thing that no head writes.

    Those are the embeddings, the MLPs, the attention biases (`9_b_O`) and, where attention passes a norm before it is
    added, that norm's bias. A head's value bias is in its own row, since `z` holds it. A sublayer without heads
    (a state-space mixer) stays one part.

    Source: Wang et al. 2022, "Interpretability in the Wild" (arXiv 2211.00593).
    """

    def writes(self, model: ModelAdapter) -> Sequence[Write]:
        plan = [*model.embeddings()]
        for layer in range(model.n_layers):
            for sublayer in model.block(layer).sublayers:
                plan += [sublayer.write] if sublayer.heads is None else sublayer.heads.writes()
        return plan
