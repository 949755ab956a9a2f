"""One try of a law: a decomposer, a model, prompts."""

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
from dla.decomposers.plans import RowKind
from dla.inputs.prompts import Position
from dla.results.attribution import Attribution
from dla.testing.subjects import Subject


@final
@dataclass(frozen=True, eq=False)
class Case:
    """A decomposer on a model, with some prompts of one length.

    Attributes:
        decomposer: What is checked.
        subject: The model.
        tokens: The prompts.
    """

    decomposer: Decomposer
    subject: Subject
    tokens: Int[Tensor, "batch pos"]

    @cached_property
    def model(self) -> Any:
        """The model."""
        return self.subject.model()

    @cached_property
    def adapter(self) -> ModelAdapter:
        """The adapter for it."""
        return self.subject.adapter()

    @property
    def law(self) -> RowKind:
        """What the rows have to do with the total."""
        return self.decomposer.row_kind

    @property
    def eps(self) -> float:
        """The rounding unit of the model's own arithmetic."""
        return self.adapter.anatomy.eps

    def ids(self, seed: int) -> Int[Tensor, "batch pos"]:
        """A token to ask about at each position."""
        size = self.adapter.vocabulary.size
        return drawn_ids(seed, size, *self.tokens.shape)

    def attribute(
        self,
        direction: Any,
        tokens: Tensor | None = None,
        *,
        model: Any = None,
        pos: Position = None,
        cache: Any = None,
        attention_mask: Tensor | None = None,
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
        attributor = _attributor(self.decomposer, model or self.adapter)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return attributor.attribute(tokens, direction, pos=pos, cache=cache, attention_mask=attention_mask)

    def of(self, decomposer: Decomposer, direction: Any) -> Attribution:
        """Another decomposer's attribution of the same."""
        return attributed(decomposer, self.adapter, direction, self.tokens)

    def on(self, tokens: Int[Tensor, "batch pos"]) -> "Case":
        """The same with other prompts."""
        return replace(self, tokens=tokens)


@final
@dataclass(frozen=True)
class Problem:
    """How a case breaks a law.

    Attributes:
        what: What was expected, and what there is.
        cause: What is likely the reason; empty if nothing is known.
    """

    what: str
    cause: str = ""


@final
@dataclass(frozen=True)
class Check:
    """One law, and how to see that it is broken.

    Attributes:
        name: Of the law.
        law: The law in a sentence.
        find: What is wrong; None if the case keeps the law.
        row_kinds: The kinds of rows that it holds for.
    """

    name: str
    law: str
    find: Callable[[Case], Problem | None] = field(repr=False)
    row_kinds: tuple[RowKind, ...] = tuple(RowKind)


def attributed(decomposer: Decomposer, model: Any, direction: Any, tokens: Tensor) -> Attribution:
    """An attribution at all positions, whether or not it adds up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _attributor(decomposer, model).attribute(tokens, direction, pos=None)


def _attributor(decomposer: Decomposer, model: Any) -> Attributor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Attributor(model, decomposer, check="warn")


def drawn_ids(seed: int, size: int, *shape: int) -> Tensor:
    """Random ids."""
    return torch.randint(size, shape, generator=torch.Generator().manual_seed(1000 + seed))


def generator(seed: int) -> torch.Generator:
    """Random numbers that are the same each time."""
    return torch.Generator().manual_seed(seed)
