"""Writes whose own numbers are held, so that a row can be differentiated by them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

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
class _Held(Write):
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
        write, made, ones = self.write, self.leaves.made, direction.new_ones(self.shape, requires_grad=True)
        if isinstance(write, ExpertWrites):
            made[write] = write.made(activations).detach().requires_grad_()
            return write.contract_made(made[write], activations, direction)
        if isinstance(write, Features):
            self.leaves.biases.append(ones)
            made[write] = write.made(activations).detach().requires_grad_()
            return write.contract_made(made[write], ones, activations, direction)
        rows = write.contract(activations, direction)
        if not isinstance(write, Constant):
            return rows
        self.leaves.biases.append(ones)
        return rows * ones

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        return self.write.vectors(activations)


def held(write: Write, leaves: Leaves, shape: tuple[int, int]) -> Write:
    """A write, with its own numbers and its biases put among the leaves when it is contracted.

    Args:
        write: The write.
        leaves: Where they are put.
        shape: How many prompts and positions there are.
    """
    return _Held(write, leaves, shape)
