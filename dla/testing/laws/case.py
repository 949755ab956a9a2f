"""What a law is, and what it is tried on: a decomposer, a model, prompts."""

import enum
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, final

import torch
from jaxtyping import Int
from torch import Tensor

from dla.adapters import ModelAdapter
from dla.attributor import Attributor
from dla.decomposers.base import Decomposer
from dla.decomposers.rows import RowKind
from dla.inputs.positions import Position
from dla.results.attribution import Attribution
from dla.testing.subjects import Subject

_Ids = Int[Tensor, "batch pos"]


@final
@dataclass(frozen=True, eq=False)
class Case:
    """A decomposer on a model, with some prompts of one length.

    Attributes:
        decomposer: What is checked.
        subject: The model.
        tokens: The prompts.
        unused: A copy of the decomposer that nobody uses, to make more copies of; None where it cannot be copied.
    """

    decomposer: Decomposer
    subject: Subject
    tokens: _Ids
    unused: Decomposer | None = None

    @cached_property
    def model(self) -> Any:
        """The model."""
        return self.subject.model()

    @cached_property
    def adapter(self) -> ModelAdapter:
        """The adapter for it."""
        return self.subject.adapter()

    @property
    def row_kind(self) -> RowKind:
        """What the rows have to do with the total."""
        return self.decomposer.row_kind

    @property
    def eps(self) -> float:
        """The rounding unit of the model's own arithmetic."""
        return self.subject.eps

    def ids(self, seed: int) -> _Ids:
        """A random token to ask about at each position."""
        return random_ids(seed, self.adapter.vocabulary.size, *self.tokens.shape)

    def attribute(
        self,
        direction: Any,
        tokens: _Ids | None = None,
        *,
        model: Any = None,
        pos: Position = None,
        cache: Any = None,
        attention_mask: _Ids | None = None,
    ) -> Attribution:
        """The decomposer's attribution, whether or not it adds up.

        Args:
            direction: What is asked.
            tokens: Other prompts than the case's.
            model: Another model, or an adapter.
            pos: As in `Attributor.attribute`; all positions if None.
            cache: As in `Attributor.attribute`.
            attention_mask: As in `Attributor.attribute`.
        """
        tokens = self.tokens if tokens is None else tokens
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            attributor = Attributor(model or self.adapter, self.decomposer, check="warn")
            return attributor.attribute(tokens, direction, pos=pos, cache=cache, attention_mask=attention_mask)

    def on(self, tokens: _Ids) -> "Case":
        """The same with other prompts."""
        return replace(self, tokens=tokens)

    def by(self, decomposer: Decomposer) -> "Case":
        """The same model and prompts with another decomposer."""
        return replace(self, decomposer=decomposer)


@final
@dataclass(frozen=True, eq=False)
class Problem:
    """How a case breaks a law.

    Attributes:
        what: What was expected, and what there is.
        cause: What is likely the reason; empty if nothing is known.
        tokens: The prompts that show it, where they are the law's own; None for those of the case.
        raised: Whether it is an exception of the decomposer's.
    """

    what: str
    cause: str = ""
    tokens: _Ids | None = None
    raised: bool = False


class Models(enum.Enum):
    """On which models a law is tried."""

    ALL = "all"
    """All of the profile: an architecture may hide what breaks the law."""

    FEW = "few"
    """A few: no architecture hides it."""

    DTYPES = "dtypes"
    """Those whose dtypes show what sums are made in."""


@final
@dataclass(frozen=True)
class Law:
    """What every decomposer must keep, and how to see that it is broken.

    Attributes:
        name: A word or two.
        statement: The law in a sentence.
        find: What is wrong; None if the case keeps the law.
        row_kinds: The kinds of rows that it holds for.
        models: On which it is tried.
    """

    name: str
    statement: str
    find: Callable[[Case], Problem | None] = field(repr=False)
    row_kinds: tuple[RowKind, ...] = tuple(RowKind)
    models: Models = Models.ALL


def random_ids(seed: int, size: int, *shape: int) -> Int[Tensor, "*shape"]:
    """Ids from 0 to `size - 1`, the same for the same seed."""
    return torch.randint(size, shape, generator=seeded(1000 + seed))


def seeded(seed: int) -> torch.Generator:
    """A generator of random numbers that are the same each time."""
    return torch.Generator().manual_seed(seed)
