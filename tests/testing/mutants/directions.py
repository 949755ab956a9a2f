"""Directions that ask something else than they say, or something that depends on what it should not."""

import random
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
class AsksForTheTokenItself(dla.Direction):
    """The token that follows, off by one: the token at the position."""

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        return ResolvedDirection(prompts.tokens.gather(1, positions.index).unsqueeze(-1), torch.ones(1))

    def describe(self) -> str:
        return "logit of the next token"


@final
@dataclass(frozen=True)
class AsksForTheLastColumn(dla.Direction):
    """The logit of each prompt's last token, read in the tensor's last column, which may be padding."""

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        return ResolvedDirection(prompts.tokens[:, -1:, None], torch.ones(1))

    def describe(self) -> str:
        return "logit of the last token"


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
class ContrastsWithChance(dla.Direction):
    """A token against another that is drawn at every call."""

    generator: random.Random = field(default_factory=lambda: random.Random(0), compare=False)

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        other = self.generator.randrange(prompts.vocabulary.size)
        return ResolvedDirection(torch.tensor([[[9, other]]]), torch.tensor([1.0, -1.0]))

    def describe(self) -> str:
        return "logit difference with a random token"


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
class ContrastsWithTheBatch(dla.Direction):
    """A token's logit minus the mean logit of the last tokens of all prompts in the batch."""

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        last = [row[length - 1] for row, length in zip(prompts.tokens.tolist(), prompts.lengths, strict=True)]
        weights = [1.0, *[-1 / len(last)] * len(last)]
        return ResolvedDirection(torch.tensor([[[9, *last]]]), torch.tensor(weights))

    def describe(self) -> str:
        return "logit against the prompts' last tokens"


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
