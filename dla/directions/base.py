"""The interface of a direction, and the sums and multiples of directions."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.inputs.arguments import instance
from dla.inputs.given import items, number, shown, whole_number
from dla.inputs.positions import Positions
from dla.inputs.prompts import Prompts


@final
@dataclass(frozen=True, eq=False)
class ResolvedDirection:
    """A direction for some prompts: weighted token ids, weights for all tokens, and a vector; their sum is read.

    Attributes:
        ids: Token ids; axes of size 1 mean "the same for all".
        weights: One weight per id, the same for all prompts and positions; `term_weights` makes them.
        vector: A direction on the final norm's output (or on the stream at the place `at`), or None.
        dense: A weight for each token of the vocabulary, or None.
        at: The hook name of the place in the stream that the vector reads; None for the final norm's output.
        offset: What is added to all that is read, and belongs to no part; None for nothing.
    """

    ids: Int[Tensor, "#batch #pos term"]
    weights: Float[Tensor, " term"]
    vector: Float[Tensor, "#batch #pos d_model"] | None = None
    dense: Float[Tensor, "#batch #pos d_vocab"] | None = None
    at: str | None = None
    offset: Float[Tensor, "#batch #pos"] | None = None

    @staticmethod
    def of_vector(vector: Float[Tensor, "#batch #pos d_model"], at: str | None = None) -> "ResolvedDirection":
        """A direction without tokens."""
        return ResolvedDirection(torch.zeros(1, 1, 0, dtype=torch.long, device="cpu"), term_weights([]), vector, at=at)


class Direction(abc.ABC):
    """A linear function of the logits, or of the stream, that is attributed.

    Law: `resolve` is linear. `a + b` reads what `a` reads plus what `b` reads, and `-a` its negative.

    Attributes:
        needs_answers: Whether it depends on the model's own logits, which takes one more forward pass, or the cache.
    """

    needs_answers: bool = False

    @abc.abstractmethod
    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        """The token ids and vectors that are read, for these prompts at these positions.

        A direction with `needs_answers` finds the model's own logits in `prompts.answered()`.
        """

    @abc.abstractmethod
    def describe(self) -> str:
        """The direction in words, for tables and files."""

    @final
    def resolved(self, prompts: Prompts, positions: Positions) -> "ResolvedDirection":
        """What `resolve` gives, checked.

        Raises:
            TypeError: If it is something else.
        """
        whose = f"What {type(self).__name__}.resolve gave"
        return instance(self.resolve(prompts, positions), ResolvedDirection, whose, "a ResolvedDirection")

    def __add__(self, other: object) -> "Direction":
        return Combination(((1.0, self), (1.0, _direction(other, "+"))))

    def __radd__(self, other: object) -> "Direction":
        return self if whole_number(other) == 0 else self + _direction(other, "+")  # `sum` starts from 0

    def __sub__(self, other: object) -> "Direction":
        return Combination(((1.0, self), (-1.0, _direction(other, "-"))))

    def __rsub__(self, other: object) -> "Direction":
        return _direction(other, "-") - self

    def __truediv__(self, divisor: object) -> "Direction":
        by = number(divisor, "a divisor")
        if by == 0:
            raise ValueError("A direction is divided by 0. Pass another number.")
        return self * (1 / by)

    def __mul__(self, factor: object) -> "Direction":
        return Combination(((number(factor, "a factor"), self),))

    def __rmul__(self, factor: object) -> "Direction":
        return self * factor

    def __neg__(self) -> "Direction":
        return self * -1.0


@final
@dataclass(frozen=True, eq=False)
class Combination(Direction):
    """A weighted sum of directions, as `+`, `-` and `*` make it."""

    terms: tuple[tuple[float, Direction], ...]
    needs_answers: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        terms = items(self.terms)
        if not terms or not all(isinstance(term, list | tuple) and len(term) == 2 for term in terms):
            raise TypeError(f"The terms are {shown(self.terms)}. Pass pairs of a factor and a direction, or add them.")

        checked = tuple((number(factor, "a factor"), _direction(each, "a term")) for factor, each in terms)
        object.__setattr__(self, "terms", checked)
        object.__setattr__(self, "needs_answers", any(direction.needs_answers for _, direction in self.terms))

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        resolved = [(factor, direction.resolved(prompts, positions)) for factor, direction in self.terms]
        # Ids of one term may be the same for all prompts and those of another not: all get the larger shape.
        shape = torch.broadcast_shapes(*(one.ids.shape[:2] for _, one in resolved))
        ids = torch.cat([one.ids.expand(*shape, -1) for _, one in resolved], -1)
        weights = torch.cat([factor * one.weights.cpu().double() for factor, one in resolved])
        vectors = [factor * _exact(one.vector) for factor, one in resolved if one.vector is not None]
        dense = [factor * _exact(one.dense) for factor, one in resolved if one.dense is not None]
        offsets = [factor * _exact(one.offset) for factor, one in resolved if one.offset is not None]
        place = one_place([one for _, one in resolved])
        return ResolvedDirection(ids, weights, _sum(vectors), _sum(dense), place, _sum(offsets))

    def describe(self) -> str:
        return " ".join(f"{factor:+g} * ({direction.describe()})" for factor, direction in self.terms)


def mean(directions: object) -> Direction:
    """The mean of several directions.

    Raises:
        TypeError: If it is not a list of directions.
        ValueError: If the list is empty.
    """
    given = items(directions)
    if given is None:
        raise TypeError(f"mean wants a list of directions, not {shown(directions)}.")
    if not given:
        raise ValueError("The mean of no directions is not defined. Pass at least one direction.")
    return Combination(tuple((1 / len(given), _direction(direction, "mean")) for direction in given))


def term_weights(weights: Sequence[float]) -> Float[Tensor, " term"]:
    """Weights of terms, in float64 whatever PyTorch's default is."""
    return torch.tensor(weights, dtype=torch.float64, device="cpu")


def one_place(resolved: Sequence[ResolvedDirection]) -> str | None:
    """The place in the stream that all of them read; None for the final norm's output.

    Raises:
        ValueError: If they read different places.
    """
    places = list(dict.fromkeys(one.at for one in resolved))
    if len(places) > 1:
        first, second = ("the final norm's output" if at is None else repr(at) for at in places[:2])
        raise ValueError(
            f"One direction reads {first} and another {second}; what is written is attributed at one place at a time. "
            "Ask in two calls."
        )
    return places[0]


def _direction(value: object, how: str) -> Direction:
    if not isinstance(value, Direction):
        raise TypeError(
            f"{how}: {shown(value)} is not a direction. Pass one, such as dla.Logit(' Mary'); to scale it, multiply."
        )
    return value


def _exact(tensor: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """A tensor in float32 or finer, so that scaling and adding round little."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _sum(tensors: Sequence[Float[Tensor, "..."]]) -> Float[Tensor, "..."] | None:
    if not tensors:
        return None
    # A user's vector may be on a GPU, while what the library makes is on the CPU.
    home = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), tensors[0].device)
    return sum((tensor.to(home) for tensor in tensors[1:]), tensors[0].to(home))
