"""One try of a law: a decomposer, a model, prompts."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, final

import torch
from jaxtyping import Int
from torch import Tensor

from dla.attribution import Attribution
from dla.attributor import Attributor
from dla.decomposers.base import Decomposer, Law
from dla.directions import Direction
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

    @property
    def law(self) -> Law:
        """What the rows have to do with the total."""
        return self.decomposer.law

    @property
    def eps(self) -> float:
        """The rounding unit of the model's own arithmetic."""
        return self.subject.adapter().anatomy.eps

    def ids(self, seed: int) -> Int[Tensor, "batch pos"]:
        """A token to ask about at each position."""
        size = self.subject.adapter().vocabulary.size
        return drawn_ids(seed, size, *self.tokens.shape)

    def attribute(self, direction: Any, tokens: Tensor | None = None, model: Any = None, **options: Any) -> Attribution:
        """The decomposer's attribution, whether or not it adds up.

        Args:
            direction: What is asked.
            tokens: Other prompts than the case's.
            model: Another model, or an adapter.
            **options: As `Attributor.attribute` has them; all positions if none are named.
        """
        return attributed(
            self.decomposer, model or self.model, direction, self.tokens if tokens is None else tokens, **options
        )

    def of(self, decomposer: Decomposer, direction: Any) -> Attribution:
        """Another decomposer's attribution of the same."""
        return attributed(decomposer, self.model, direction, self.tokens)

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
        laws: The kinds of decomposition that it holds for.
    """

    name: str
    law: str
    find: Callable[[Case], Problem | None] = field(repr=False)
    laws: tuple[Law, ...] = tuple(Law)


def attributed(
    decomposer: Decomposer, model: Any, direction: Direction | Any, tokens: Tensor, **options: Any
) -> Attribution:
    """An attribution, whether or not it adds up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Attributor(model, decomposer, check="warn").attribute(tokens, direction, **{"pos": None, **options})


def drawn_ids(seed: int, size: int, *shape: int) -> Tensor:
    """Random ids."""
    return torch.randint(size, shape, generator=torch.Generator().manual_seed(1000 + seed))


def generator(seed: int) -> torch.Generator:
    """Random numbers that are the same each time."""
    return torch.Generator().manual_seed(seed)
