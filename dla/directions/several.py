"""Several directions in one pass, as an axis of the result."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from dla.directions.base import Direction
from dla.directions.tokens import Logit
from dla.prompts import Positions, Prompts


class Directions(abc.ABC):
    """Several questions at once.

    Law: the result's slice for one name is the attribution of that direction alone.
    """

    @abc.abstractmethod
    def named(self, prompts: Prompts, positions: Positions) -> Mapping[str, Direction]:
        """The directions by name, for these prompts at these positions."""

    @abc.abstractmethod
    def describe(self) -> str:
        """All of them in words."""


@final
@dataclass(frozen=True, eq=False)
class Several(Directions):
    """Directions that are known beforehand, by name.

    Raises:
        ValueError: If there is none, or two have one name.
    """

    directions: Mapping[str, Direction]

    def __post_init__(self) -> None:
        if not self.directions:
            raise ValueError("No direction was given. Pass at least one.")

    @staticmethod
    def of(directions: "Mapping[str, Direction] | Sequence[Direction]") -> "Several":
        """From a mapping; a list takes its names from the directions' own words."""
        if isinstance(directions, Mapping):
            return Several(dict(directions))
        names = [direction.describe() for direction in directions]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"Two directions are called {twice!r}. Pass a dict, with a name of its own for each.")
        return Several(dict(zip(names, directions, strict=True)))

    def named(self, prompts: Prompts, positions: Positions) -> Mapping[str, Direction]:
        return self.directions

    def describe(self) -> str:
        return "; ".join(self.directions)


@final
@dataclass(frozen=True)
class TopTokens(Directions):
    """The logits of the `k` tokens that the model itself answers with first, at each prompt and position.

    Their names are the tokens where one prompt was asked at one position, else `top 1` to `top k`. It takes one more
    pass, or the cache, to know them.

    Attributes:
        k: How many.
    """

    k: int = 5

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"TopTokens(k={self.k}): ask for at least one token.")

    def named(self, prompts: Prompts, positions: Positions) -> Mapping[str, Direction]:
        """The directions.

        Raises:
            ValueError: If the vocabulary has fewer tokens.
        """
        answers = prompts.answered()
        if self.k > answers.shape[-1]:
            raise ValueError(f"TopTokens(k={self.k}): the vocabulary has {answers.shape[-1]} tokens. Ask for fewer.")
        ids = answers.topk(self.k).indices
        names = [f"top {i + 1}" for i in range(self.k)]
        if ids.shape[:2] == (1, 1):
            texts = [prompts.vocabulary.text(int(token)) for token in ids.flatten()]
            names = texts if len(set(texts)) == self.k else names
        return {name: Logit(ids[:, :, i].cpu()) for i, name in enumerate(names)}

    def describe(self) -> str:
        return f"logits of the model's own top {self.k} tokens"
