"""Directions: what is asked of the residual stream. A token's logit, a difference, a mean, a vector.

Every direction is a linear functional of the logits before any soft cap, plus one of the final norm's output.
Directions therefore add, subtract and scale: `Logit(" Mary") - Logit(" John")`, `2 * d`, `LogitSet([...])`.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.prompts import Positions, Prompts

Tokens = str | int | Sequence[str | int] | Tensor


@final
@dataclass(frozen=True, eq=False)
class Readout:
    """A direction, resolved for some prompts: weighted token ids, and a vector on the final norm's output.

    Attributes:
        ids: Token ids; axes of size 1 mean "the same for all".
        weights: One weight a term, the same for all prompts and positions.
        vector: A direction on the final norm's output, or None.
    """

    ids: Int[Tensor, "#batch #pos term"]
    weights: Float[Tensor, " term"]
    vector: Float[Tensor, "#batch #pos d_model"] | None = None


class Direction(abc.ABC):
    """What an attribution attributes.

    Law: resolving is linear. The readout of `a + b` reads what `a` reads plus what `b` reads, and `-a` its negative.
    """

    @abc.abstractmethod
    def readout(self, prompts: Prompts, positions: Positions) -> Readout:
        """The token ids and vectors that are read, for these prompts at these positions."""

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
class Logit(Direction):
    """The logit of a token.

    Attributes:
        token: One token (text or id) for all prompts; a list of tokens or a tensor `[batch]`, one a prompt; or a
            tensor `[batch pos]`, one a prompt and position asked for. A one-axis value is always one a prompt.
    """

    token: Tokens

    def readout(self, prompts: Prompts, positions: Positions) -> Readout:
        return Readout(_ids(self.token, prompts, positions).unsqueeze(-1), torch.ones(1))

    def describe(self) -> str:
        return f"logit of {_words(self.token)}"


@final
@dataclass(frozen=True, eq=False)
class LogitDifference(Direction):
    """The logit of one token minus that of another; each as in `Logit`, both of one shape."""

    token: Tokens
    minus: Tokens

    def readout(self, prompts: Prompts, positions: Positions) -> Readout:
        first, second = (_ids(t, prompts, positions) for t in (self.token, self.minus))
        if first.shape != second.shape and first.numel() > 1 and second.numel() > 1:
            raise ValueError(
                f"The tokens have shape {tuple(first.shape)} and {tuple(second.shape)}; "
                "a logit difference needs one incorrect token for each correct one."
            )
        ids = torch.stack(torch.broadcast_tensors(first, second), -1)
        return Readout(ids, torch.tensor([1.0, -1.0]))

    def describe(self) -> str:
        return f"logit difference {_words(self.token)} - {_words(self.minus)}"


@final
@dataclass(frozen=True, eq=False)
class LogitSet(Direction):
    """The mean logit of several tokens, the same for all prompts."""

    tokens: Sequence[str | int]

    def __post_init__(self) -> None:
        if isinstance(self.tokens, str) or not len(self.tokens):
            raise ValueError(f"LogitSet wants a list of at least one token, not {self.tokens!r}.")

    def readout(self, prompts: Prompts, positions: Positions) -> Readout:
        ids = torch.tensor([prompts.vocabulary.token(token) for token in self.tokens])
        return Readout(ids[None, None], torch.full((len(ids),), 1 / len(ids)))

    def describe(self) -> str:
        return f"mean logit of {_words(self.tokens)}"


@final
@dataclass(frozen=True, eq=False)
class NextToken(Direction):
    """At each position the logit of the token that follows it in the prompt."""

    def readout(self, prompts: Prompts, positions: Positions) -> Readout:
        if not prompts.known:
            raise ValueError("NextToken needs the prompts' tokens, and only a cache was given. Pass the prompts too.")
        lengths = torch.tensor(prompts.lengths)[:, None]
        beyond = (positions.index + 1 >= lengths) & positions.valid
        if bool(beyond.any()):
            row = int(beyond.any(1).nonzero()[0])
            raise ValueError(
                f"NextToken at the last position of prompt {row}: no token follows it. "
                "Ask for earlier positions, such as pos=slice(None, -1)."
            )
        following = (positions.index + 1).clamp(max=prompts.tokens.shape[1] - 1)
        return Readout(prompts.tokens.gather(1, following).unsqueeze(-1), torch.ones(1))

    def describe(self) -> str:
        return "logit of the next token"


@final
@dataclass(frozen=True, eq=False)
class ResidualVector(Direction):
    """A vector that reads the final norm's output, as a column of `W_U` does: `ln_final(x) · vector`.

    Attributes:
        vector: `[d_model]` for all prompts, `[batch d_model]` one a prompt, or `[batch pos d_model]` one a prompt
            and position asked for.
    """

    vector: Float[Tensor, "... d_model"]

    def readout(self, prompts: Prompts, positions: Positions) -> Readout:
        leading = self.vector.shape[:-1]
        _check_shape(leading, prompts, positions, "The vector without its last axis")
        vector = self.vector[(None,) * (2 - len(leading))] if not leading else self.vector
        vector = vector[:, None] if len(leading) == 1 else vector
        return Readout(torch.zeros(1, 1, 0, dtype=torch.long), torch.zeros(0), vector)

    def describe(self) -> str:
        return f"residual vector {list(self.vector.shape)}"


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
        return Readout(ids, weights, sum(vectors[1:], vectors[0]) if vectors else None)

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


def _ids(tokens: Tokens, prompts: Prompts, positions: Positions) -> Int[Tensor, "#batch #pos"]:
    """Ids with a batch and a position axis, each of size 1 where the token is the same for all."""
    if isinstance(tokens, str | int):
        return torch.tensor([[prompts.vocabulary.token(tokens)]])
    if not isinstance(tokens, Tensor):
        tokens = torch.tensor([prompts.vocabulary.token(token) for token in tokens])
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise TypeError(f"Token ids must be integers; the tensor has dtype {tokens.dtype}.")
    _check_shape(tokens.shape, prompts, positions, "The token tensor")
    for extreme in (tokens.min(), tokens.max()):
        prompts.vocabulary.token(int(extreme))
    ids = tokens.detach().long().cpu()
    return ids[None, None] if ids.ndim == 0 else ids[:, None] if ids.ndim == 1 else ids


def _check_shape(shape: Sequence[int], prompts: Prompts, positions: Positions, what: str) -> None:
    kept = positions.index.shape[1]
    wanted = ((), (prompts.batch,), (prompts.batch, kept))
    if len(shape) > 2 or tuple(shape) != wanted[len(shape)]:
        raise ValueError(
            f"{what} has shape {list(shape)}. For {prompts.batch} prompts at {kept} positions pass shape [] (the same "
            f"for all), [{prompts.batch}] (one a prompt) or [{prompts.batch}, {kept}] (one a prompt and position)."
        )


def _words(tokens: Tokens) -> str:
    if isinstance(tokens, Tensor):
        return f"tokens {list(tokens.shape)}" if tokens.ndim else str(int(tokens))
    if isinstance(tokens, str | int):
        return repr(tokens)
    words = [repr(token) for token in tokens]
    return ", ".join(words if len(words) <= 4 else [*words[:3], f"... ({len(words)} tokens)"])
