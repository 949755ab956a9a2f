"""Decompositions that add up because a row is what the others leave, or because all rows are scaled to fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

import dla
from dla.writes import Activations
from mutants.splitting import sublayers


@final
@dataclass(frozen=True, eq=False)
class Rest(dla.Write):
    """A stream without what other writes have of it."""

    stream: dla.Write
    others: Sequence[dla.Write]
    label: dla.Label

    @property
    def labels(self) -> Sequence[dla.Label]:
        return (self.label,)

    @property
    def reads(self) -> tuple[dla.Site, ...]:
        return tuple(dict.fromkeys(site for write in (self.stream, *self.others) for site in write.reads))

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        others = [write.contract(activations, direction).sum(-3, keepdim=True) for write in self.others]
        return self.stream.contract(activations, direction) - sum(others)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        others = [write.vectors(activations).sum(0, keepdim=True) for write in self.others]
        return self.stream.vectors(activations) - sum(others)


def last_stream(model: dla.ModelAdapter) -> dla.Write:
    """What enters the final norm."""
    return model.block(model.n_layers - 1).resid_post


@final
@dataclass(frozen=True)
class HeadsAndTheRest(dla.Decomposer):
    """Every head, and one row for the stream without them."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        heads = [s.heads.write() for s in sublayers(model) if s.heads is not None]
        return [*heads, Rest(last_stream(model), heads, dla.Label("everything else"))]
