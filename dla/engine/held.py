"""Writes whose own numbers are held, so that a row can be differentiated by them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.engine.traced_features import Key
from dla.labels import Label
from dla.writes import Constant, ExpertWrites, Features, Site, Write
from dla.writes.routes import Activations


@final
@dataclass(frozen=True, eq=False)
class Leaves:
    """What some rows are differentiated by.

    Attributes:
        made: What hooks show, and what writes make of it: outputs of experts, features.
        biases: Ones that multiply what is added whatever the stream holds: the gradient is what it adds.
    """

    made: dict[Key, Tensor] = field(default_factory=dict)
    biases: list[Tensor] = field(default_factory=list)


@final
@dataclass(frozen=True, eq=False)
class Held(Write):
    """A write, with its own numbers and its biases among the leaves.

    Attributes:
        write: The write.
        leaves: Where they are put.
        shape: How many prompts and positions there are.
    """

    write: Write
    leaves: Leaves
    shape: tuple[int, int]

    @property
    def labels(self) -> Sequence[Label]:
        return self.write.labels

    @property
    def reads(self) -> tuple[Site, ...]:
        return self.write.reads

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        write = self.write
        if isinstance(write, ExpertWrites | Features):
            self.leaves.made[write] = made = write.made(activations).detach().requires_grad_()
            rows = write.contract_made(made, activations, direction)
        else:
            rows = write.contract(activations, direction)
        biases = _biases(write)
        if not biases:
            return rows
        ones = rows.new_ones(self.shape, requires_grad=True)
        self.leaves.biases.append(ones)
        return torch.stack(
            [
                row * ones if i in biases else row.expand(*row.shape[:-2], *self.shape)
                for i, row in enumerate(rows.unbind(-3))
            ],
            -3,
        )

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        return self.write.vectors(activations)


def _biases(write: Write) -> Sequence[int]:
    """Which parts are added whatever the stream holds."""
    if isinstance(write, Constant):
        return range(len(write.labels))
    plain = isinstance(write, Features) and write.dictionary.plain
    return (len(write.dictionary.W_dec),) if plain and isinstance(write, Features) else ()
