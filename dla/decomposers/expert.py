"""Experts of a mixture."""

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
class ExpertDecomposer(Decomposer):
    """One part for each routed expert, `L3E5`, one for the shared experts, and one for everything else.

    An expert's part is its output, with its biases, times the weight that the router gave it after the choice of the
    best and their renormalisation; an expert that was not chosen has 0. Shared experts, which every token passes, are
    one part, `3_shared_experts`, with their gate if they have one. A cache is not enough: no hook shows what the router
    decided, so the model has to run.

    Attributes:
        layers: The layers whose mixtures are split; None for all.

    Source: Shazeer et al. 2017 (arXiv 1701.06538).
    """

    layers: Layers = None

    def __post_init__(self) -> None:
        read_layers(self.layers)

    def writes(self, model: ModelAdapter) -> Sequence[Write]:
        """The plan.

        Raises:
            ValueError: If the model has no such layer.
            UnsupportedModelError: If a layer that was named has no experts to split.
        """
        return list(split_sublayers(model, self.layers, _experts, PieceKind.EXPERTS))


def _experts(sublayer: Sublayer) -> Sequence[Write] | None:
    return None if sublayer.experts is None else sublayer.experts.writes()
