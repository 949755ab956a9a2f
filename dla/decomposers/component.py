"""Embeddings, attention and MLP sublayers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Decomposer
from dla.writes import Write


@final
@dataclass(frozen=True)
class ComponentDecomposer(Decomposer):
    """One part for each embedding and each sublayer: `embed`, `pos_embed`, `0_attn_out`, `0_mlp_out`, ...

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
    """

    def writes(self, model: ModelAdapter) -> Sequence[Write]:
        sublayers = [write for layer in range(model.n_layers) for write in model.sublayers(layer)]
        return [*model.embeddings(), *sublayers]
