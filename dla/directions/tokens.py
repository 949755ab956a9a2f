"""Directions of tokens that the user names, or that the prompt holds."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from dla.directions.base import Direction, ResolvedDirection, term_weights
from dla.directions.shapes import Tokens, ids_of, read_tokens, words
from dla.inputs.positions import Positions
from dla.inputs.prompts import Prompts


@final
@dataclass(frozen=True, eq=False)
class Logit(Direction):
    """The logit of a token.

    Attributes:
        token: One token (text or id) for all prompts; a list of tokens or a tensor `[batch]`, one per prompt; or a
            tensor `[batch pos]`, one per prompt and attributed position; in a sweep, a `Column` of the corpus.

    Raises:
        TypeError: If a token is neither a text nor an id.
        ValueError: If there is no token, or the tokens are lists in a list.
    """

    token: Tokens

    def __post_init__(self) -> None:
        read_tokens(self.token)

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        return ResolvedDirection(ids_of(self.token, prompts, positions).unsqueeze(-1), term_weights([1.0]))

    def describe(self) -> str:
        return f"logit of {words(self.token)}"


@final
@dataclass(frozen=True, eq=False)
class LogitDifference(Direction):
    """The logit of one token minus that of another; each as in `Logit`, both of the same shape or one of them alone."""

    token: Tokens
    minus: Tokens

    def __post_init__(self) -> None:
        read_tokens(self.token)
        read_tokens(self.minus)

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        first, second = (ids_of(t, prompts, positions) for t in (self.token, self.minus))
        if first.shape != second.shape and first.numel() > 1 and second.numel() > 1:
            raise ValueError(
                f"The tokens have shape {tuple(first.shape)} and {tuple(second.shape)}; "
                "a logit difference needs one incorrect token for each correct one."
            )
        ids = torch.stack(torch.broadcast_tensors(first, second), -1)
        return ResolvedDirection(ids, term_weights([1.0, -1.0]))

    def describe(self) -> str:
        return f"logit difference {words(self.token)} - {words(self.minus)}"


@final
@dataclass(frozen=True, eq=False)
class NextToken(Direction):
    """The logit of the token that follows each position in the prompt; resolving refuses the last position."""

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        return ResolvedDirection(following_ids(prompts, positions).unsqueeze(-1), term_weights([1.0]))

    def describe(self) -> str:
        return "logit of the next token"


def following_ids(prompts: Prompts, positions: Positions) -> Int[Tensor, "batch query"]:
    """The token that follows each position in its prompt.

    Raises:
        ValueError: If no token follows one of them, or the tokens are not known.
    """
    if not prompts.known:
        raise ValueError("NextToken needs the prompts' tokens, and only a cache was given. Pass the prompts too.")
    lengths = torch.tensor(prompts.lengths, device="cpu")[:, None]
    beyond = (positions.index + 1 >= lengths) & positions.valid
    if bool(beyond.any()):
        row = int(beyond.any(1).nonzero()[0])
        raise ValueError(
            f"NextToken at the last position of prompt {row}: no token follows it. "
            "Ask for earlier positions, such as pos=slice(None, -1)."
        )
    # Positions that a short prompt does not have point beyond its tokens; their rows become NaN later.
    return prompts.tokens.gather(1, (positions.index + 1).clamp(max=prompts.tokens.shape[1] - 1))
