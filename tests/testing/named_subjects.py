"""What the tests of the shell and of pytest's option name."""

from collections.abc import Sequence

import torch

import dla
from dla.directions import ResolvedDirection
from dla.inputs import Positions, Prompts


class Nine(dla.Direction):
    """Right."""

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        return ResolvedDirection(torch.tensor([[[9]]]), torch.ones(1))

    def describe(self) -> str:
        return "9"


class Nothing(dla.Direction):
    """Wrong."""

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        return ResolvedDirection(torch.tensor([[[9]]]), torch.zeros(1))

    def describe(self) -> str:
        return "nothing"


class Raises(dla.Decomposer):
    """Wrong in one line."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [{}["no such key"]]


class WantsMore(dla.Decomposer):
    """Cannot be made without arguments."""

    def __init__(self, layers: Sequence[int]) -> None:
        self.layers = layers

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return list(dla.ComponentDecomposer().writes(model))
