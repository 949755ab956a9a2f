"""Several writes as one part."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.inputs.arguments import check_fields
from dla.inputs.given import items, shown
from dla.labels import Label
from dla.writes.base import Write
from dla.writes.routes import Activations
from dla.writes.sites import Site


@final
@dataclass(frozen=True, eq=False)
class SumOf(Write):
    """Several writes as one part."""

    writes: Sequence[Write]
    label: Label

    def __post_init__(self) -> None:
        check_fields(self, label=Label)
        given = list(self.writes) if isinstance(self.writes, Iterator) else items(self.writes)
        if not given or not all(isinstance(write, Write) for write in given):
            raise TypeError(f"SumOf: writes is {shown(self.writes)}. Pass a list of at least one Write.")
        object.__setattr__(self, "writes", tuple(given))  # a generator could be read only once

    @property
    def labels(self) -> Sequence[Label]:
        return (self.label,)

    @property
    def reads(self) -> tuple[Site, ...]:
        return tuple(dict.fromkeys(site for write in self.writes for site in write.reads))

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        # Of any shape: a constant has size 1 where other writes have batch and positions.
        total = direction.new_zeros(())
        for write in self.writes:
            total = total + write.contract(activations, direction).sum(-3, keepdim=True)
        return total

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        total = torch.zeros((), device="cpu")  # on the device of the last write: blocks may be on several
        for write in self.writes:
            vectors = write.vectors(activations).sum(0, keepdim=True)
            total = total.to(vectors) + vectors
        return total
