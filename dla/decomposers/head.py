"""Attention heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from dla.adapters.anatomy import PieceKind, Sublayer
from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Decomposer
from dla.decomposers.splitting import Layers, read_layers, split_sublayers
from dla.writes import Write


@final
@dataclass(frozen=True)
class HeadDecomposer(Decomposer):
    """One part for each attention head, `L9H6`, and one for each thing that no head writes.

    Those are the embeddings, the MLPs, the attention biases (`9_b_O`) and, where attention passes a norm before it is
    added, that norm's bias. A head's value bias is in the head's row, since `z` includes it. A sublayer without heads
    (a state-space mixer) stays one part.

    Attributes:
        layers: The layers whose attention is split; None for all.

    Source: Wang et al. 2022, "Interpretability in the Wild" (arXiv 2211.00593).
    """

    layers: Layers = None

    def __post_init__(self) -> None:
        read_layers(self.layers)

    def writes(self, model: ModelAdapter) -> Sequence[Write]:
        """The plan.

        Raises:
            ValueError: If the model has no such layer.
            UnsupportedModelError: If a layer that was named has no heads to split.
        """
        return list(split_sublayers(model, self.layers, _heads, PieceKind.HEADS))


def _heads(sublayer: Sublayer) -> Sequence[Write] | None:
    return None if sublayer.heads is None else sublayer.heads.writes()
