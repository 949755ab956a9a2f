"""Directions that ask something else than they say, or something that depends on what it should not."""

from dataclasses import dataclass, field
from typing import final

import torch

import dla
from dla.directions import ResolvedDirection
from dla.inputs import Positions, Prompts


def _ids(token: int) -> torch.Tensor:
    return torch.tensor([[[token]]])


@final
@dataclass(frozen=True)
class AddsTheOtherToken(dla.Direction):
    """The difference of two logits, with a plus."""

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        return ResolvedDirection(torch.tensor([[[9, 14]]]), torch.tensor([1.0, 1.0]))

    def describe(self) -> str:
        return "logit difference"


@final
@dataclass(frozen=True)
class AsksForTheNextPromptsToken(dla.Direction):
    """The logit of each prompt's first token, with the prompts one further."""

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        return ResolvedDirection(prompts.tokens[:, :1, None].roll(1, 0), torch.ones(1))

    def describe(self) -> str:
        return "logit of the first token"


@final
@dataclass(frozen=True)
class CountsPositionsInTheAnswer(dla.Direction):
    """The token at each position asked about, counted from the first of those instead of the prompt's."""

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        kept = positions.index.shape[1]
        return ResolvedDirection(prompts.tokens[:, :kept].unsqueeze(-1), torch.ones(1))

    def describe(self) -> str:
        return "logit of the token at each position"


@final
@dataclass(frozen=True)
class CountsItsCalls(dla.Direction):
    """The tokens one after the other: each call asks for the next."""

    called: list[int] = field(default_factory=list, compare=False)

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        self.called.append(1)
        return ResolvedDirection(_ids(len(self.called) % prompts.vocabulary.size), torch.ones(1))

    def describe(self) -> str:
        return "logit of a token"


@final
@dataclass(frozen=True)
class ChangesThePrompt(dla.Direction):
    """Puts the token that it asks for into the prompt."""

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        prompts.tokens[:, 0] = 9
        return ResolvedDirection(_ids(9), torch.ones(1))

    def describe(self) -> str:
        return "logit of 9"


@final
@dataclass(frozen=True)
class ReadsNothing(dla.Direction):
    """A token whose weight has become 0."""

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        return ResolvedDirection(_ids(9), torch.zeros(1))

    def describe(self) -> str:
        return "logit of 9"


@final
@dataclass(frozen=True)
class CountsInItsName(dla.Direction):
    """Numbers itself whenever it is asked for its name."""

    called: list[int] = field(default_factory=list, compare=False)

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        return ResolvedDirection(_ids(9), torch.ones(1))

    def describe(self) -> str:
        self.called.append(1)
        return f"logit of 9, asked {len(self.called)} times"


@final
@dataclass(frozen=True)
class ReadsNowhere(dla.Direction):
    """A vector at a place of the stream that no model has."""

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        return ResolvedDirection.of_vector(torch.ones(1, 1, 32), at="nowhere")

    def describe(self) -> str:
        return "a vector"
