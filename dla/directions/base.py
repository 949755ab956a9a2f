"""The interface of a direction, and the algebra that all directions share."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.prompts import Positions, Prompts


@final
@dataclass(frozen=True, eq=False)
class Readout:
    """A direction, resolved for some prompts: weighted token ids, weights for all tokens, and a vector.

    Attributes:
        ids: Token ids; axes of size 1 mean "the same for all".
        weights: One weight a term, the same for all prompts and positions.
        vector: A direction on the final norm's output (or on the stream at the place `at`), or None.
        dense: A weight for each token of the vocabulary, or None.
        at: The hook name of the place in the stream that the vector reads; None for the final norm's output.
    """

    ids: Int[Tensor, "#batch #pos term"]
    weights: Float[Tensor, " term"]
    vector: Float[Tensor, "#batch #pos d_model"] | None = None
    dense: Float[Tensor, "#batch #pos d_vocab"] | None = None
    at: str | None = None

    @staticmethod
    def of_vector(vector: Float[Tensor, "#batch #pos d_model"], at: str | None = None) -> "Readout":
        """No token, only a vector."""
        return Readout(torch.zeros(1, 1, 0, dtype=torch.long), torch.zeros(0), vector, at=at)


class Direction(abc.ABC):
    """What an attribution attributes.

    Law: resolving is linear. The readout of `a + b` reads what `a` reads plus what `b` reads, and `-a` its negative.
    """

    @abc.abstractmethod
    def readout(self, prompts: Prompts, positions: Positions) -> Readout:
        """The token ids and vectors that are read, for these prompts at these positions.

        A direction that depends on what the model answers asks for `prompts.answered()`.
        """

    @abc.abstractmethod
    def describe(self) -> str:
        """The direction in words, for tables and files."""

    def __add__(self, other: "Direction") -> "Direction":
        return Combination(((1.0, self), (1.0, other)))

    def __sub__(self, other: "Direction") -> "Direction":
        return Combination(((1.0, self), (-1.0, other)))

    def __mul__(self, factor: float) -> "Direction":
        return Combination(((float(factor), self),))

    def __rmul__(self, factor: float) -> "Direction":
        return self * factor

    def __neg__(self) -> "Direction":
        return self * -1.0


@final
@dataclass(frozen=True, eq=False)
class Combination(Direction):
    """A weighted sum of directions; what `+`, `-` and `*` make."""

    terms: tuple[tuple[float, Direction], ...]

    def readout(self, prompts: Prompts, positions: Positions) -> Readout:
        readouts = [(factor, direction.readout(prompts, positions)) for factor, direction in self.terms]
        shape = torch.broadcast_shapes(*(readout.ids.shape[:2] for _, readout in readouts))
        ids = torch.cat([readout.ids.expand(*shape, -1) for _, readout in readouts], -1)
        weights = torch.cat([factor * readout.weights for factor, readout in readouts])
        vectors = [factor * readout.vector for factor, readout in readouts if readout.vector is not None]
        dense = [factor * readout.dense for factor, readout in readouts if readout.dense is not None]
        return Readout(ids, weights, _sum(vectors), _sum(dense), one_place([readout for _, readout in readouts]))

    def describe(self) -> str:
        return " ".join(f"{factor:+g} * ({direction.describe()})" for factor, direction in self.terms)


def mean(directions: Sequence[Direction]) -> Direction:
    """The mean of several directions.

    Raises:
        ValueError: If there is none.
    """
    if not directions:
        raise ValueError("The mean of no directions is not defined. Pass at least one direction.")
    return Combination(tuple((1 / len(directions), direction) for direction in directions))


def one_place(readouts: Sequence[Readout]) -> str | None:
    """The place in the stream that all of them read.

    Raises:
        ValueError: If they read different places.
    """
    places = list(dict.fromkeys(readout.at for readout in readouts))
    if len(places) > 1:
        first, second = ("the final norm's output" if at is None else repr(at) for at in places[:2])
        raise ValueError(
            f"One direction reads {first} and another {second}; what is written is attributed at one place at a time. "
            "Ask in two calls."
        )
    return places[0]


def _sum(tensors: Sequence[Tensor]) -> Tensor | None:
    return sum(tensors[1:], tensors[0]) if tensors else None
