"""Several directions in one pass, as an axis of the result."""

import abc
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from dla.directions.base import Direction
from dla.directions.continuation import Continuation, FollowingTokens, words_of
from dla.directions.tokens import Logit, NextToken
from dla.inputs.arguments import name
from dla.inputs.continuations import Continuations
from dla.inputs.given import Count, count, items, shown, token, whole_number
from dla.inputs.positions import Positions
from dla.inputs.prompts import Prompts


class Directions(abc.ABC):
    """Several directions, attributed in one pass.

    Law: the result's slice for one name is the attribution of that direction alone.

    Attributes:
        needs_answers: As in `Direction`, of any of them.
        names_places: Whether each asks for tokens of its own at each place, which tables then name.
    """

    needs_answers: bool = False
    names_places: bool = False

    @abc.abstractmethod
    def named(self, prompts: Prompts, positions: Positions) -> Mapping[str, Direction]:
        """The directions by name, for these prompts at these positions."""

    @abc.abstractmethod
    def describe(self) -> str:
        """All of them in words."""


@final
@dataclass(frozen=True, eq=False)
class DirectionSet(Directions):
    """Directions by name.

    Raises:
        TypeError: If a name is not a text, or an item is not a direction.
        ValueError: If there is no direction.
    """

    directions: Mapping[str, Direction]
    needs_answers: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        named = named_directions(self.directions)
        needed = any(direction.needs_answers for direction in named.values())
        object.__setattr__(self, "needs_answers", needed)

    @staticmethod
    def of(directions: Mapping[Any, Any] | Sequence[Any]) -> "DirectionSet":
        """From a mapping, in which a token stands for its logit, or from a list, which is named by `describe`.

        Raises:
            TypeError: If a name is not a text, or an item is not a direction.
            ValueError: If there is no direction, or two of a list have the same name.
        """
        if isinstance(directions, Mapping):
            return DirectionSet({name(called, "A direction"): _logit(each) for called, each in directions.items()})
        several = [_one(direction) for direction in directions]
        names = [direction.describe() for direction in several]
        twice = next((called for called, times in Counter(names).items() if times > 1), None)
        if twice is not None:
            raise ValueError(f"Two directions are called {shown(twice)}. Pass a dict, with a name of its own for each.")
        return DirectionSet(dict(zip(names, several, strict=True)))

    def named(self, prompts: Prompts, positions: Positions) -> Mapping[str, Direction]:
        return self.directions

    def describe(self) -> str:
        return "; ".join(self.directions)


@final
@dataclass(frozen=True)
class TopTokens(Directions):
    """The logits of the `k` tokens that the model itself finds most likely, at each prompt and position.

    Their names are the tokens for one prompt at one position, otherwise `top 1` to `top k`; tables, data frames and the
    record (`provenance.asked`) then name the tokens of each prompt and position. One more forward pass, or
    the cache, tells which they are.

    Attributes:
        k: How many.
    """

    k: Count = 5
    needs_answers = True
    names_places = True

    def __post_init__(self) -> None:
        count(self.k, "TopTokens: k", "token")

    def named(self, prompts: Prompts, positions: Positions) -> Mapping[str, Direction]:
        """The directions.

        Raises:
            ValueError: If the vocabulary has fewer tokens.
        """
        answers, k = prompts.answered(), count(self.k, "TopTokens: k", "token")
        if k > answers.shape[-1]:
            raise ValueError(f"TopTokens(k={k}): the vocabulary has {answers.shape[-1]} tokens. Ask for fewer.")
        ids = answers.topk(k).indices
        names = [f"top {i + 1}" for i in range(k)]
        if ids.shape[:2] == (1, 1):
            # Two ids may have the same text; a name must be unique.
            texts = [prompts.vocabulary.text(int(token)) for token in ids.flatten()]
            names = texts if len(set(texts)) == k else names
        return {name: Logit(ids[:, :, i].cpu()) for i, name in enumerate(names)}

    def describe(self) -> str:
        return f"logits of the model's own top {self.k} tokens"


def of_each_token(completions: Continuations) -> DirectionSet:
    """The log-probability of the token that follows each position, and its logit.

    Args:
        completions: What the tokens are those of.
    """
    return DirectionSet(
        {"log-probability": FollowingTokens(f"log-probability of {words_of(completions)}"), "logit": NextToken()}
    )


def named_directions(given: object) -> Mapping[str, Direction]:
    """Directions by name, checked.

    Raises:
        TypeError: If it is no dict of directions, or a name is no text.
        ValueError: If there is no direction, or a name is empty.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"The directions are {shown(given)}. Pass a dict, with a name for each.")
    if not given:
        raise ValueError("No direction was given. Pass at least one.")
    return {name(called, "A direction"): _one(direction) for called, direction in given.items()}


def question(direction: object) -> Direction | Directions:
    """A direction from its short forms: a token stands for its logit, a dict or a list for several directions.

    Raises:
        TypeError: If it has none of these forms.
        ValueError: If the dict or list is empty, or two items of a list have the same name.
    """
    if isinstance(direction, Direction | Directions):
        return direction
    if isinstance(direction, Mapping):
        return DirectionSet.of(direction)
    if isinstance(direction, str) or whole_number(direction) is not None:
        return Logit(token(direction))
    if isinstance(direction, Continuation):
        raise TypeError("A Continuation is asked alone, and says itself where: pass it to attribute() as it is.")
    given = items(direction) if isinstance(direction, Sequence) else None
    if given is None:
        raise TypeError(f"The direction is {shown(direction)}. Pass an instance, such as dla.Logit(' Mary').")
    return DirectionSet.of(given)


def _logit(direction: object) -> Direction:
    """The logit of a token; a direction as it is."""
    if isinstance(direction, str) or whole_number(direction) is not None:
        return Logit(token(direction))
    return _one(direction)


def _one(direction: object) -> Direction:
    if isinstance(direction, Directions):
        raise TypeError(f"{type(direction).__name__} is several directions itself. Ask for it alone.")
    if isinstance(direction, Continuation):
        raise TypeError("A Continuation says itself where it is asked. Ask for it alone, not among several.")
    if isinstance(direction, str) or whole_number(direction) is not None:
        raise TypeError(
            f"The directions hold the token {shown(direction)}. Pass dla.Logit with the list for one per prompt, or a "
            "dict with a name for each question."
        )
    if not isinstance(direction, Direction):
        raise TypeError(f"{shown(direction)} is not a direction. Pass an instance, such as dla.Logit(' Mary').")
    return direction
