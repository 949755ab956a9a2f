"""The interface of a decomposition."""

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

from dla.adapters.base import ModelAdapter
from dla.decomposers.cover import merged_plans
from dla.decomposers.plans import Item, Plan, checked_items
from dla.decomposers.rows import RowKind
from dla.inputs.given import items, shown

Planned = Callable[[str | None], tuple[ModelAdapter, Plan]]
"""The model up to a place of the stream, and the plan for it; None for all of the model."""


class Decomposer(abc.ABC):
    """A way to split the residual stream that enters the final norm.

    Law: additive rows, the parts of `writes(model)`, add up to that stream exactly; nothing is left over, and no part
    is defined as what the others leave. Of cumulative rows and of a lens, the last row is that stream.
    """

    row_kind: RowKind = RowKind.ADDITIVE

    @abc.abstractmethod
    def writes(self, model: ModelAdapter) -> Sequence[Item]:
        """The plan: what to read, which parts that is, and how each reaches the stream. Runs nothing."""

    def __or__(self, other: "Decomposer") -> "Decomposer":
        return MixedDecomposer((self, as_decomposer(other)))

    def __ror__(self, other: object) -> "Decomposer":
        return MixedDecomposer((as_decomposer(other), self))


def plan_of(decomposer: Decomposer, model: ModelAdapter) -> Plan:
    """What a decomposer reads of a model, checked.

    Raises:
        TypeError: If an item is neither a write nor an entry.
        ValueError: If there is no item, or two rows have the same label.
    """
    name, row_kind = type(decomposer).__name__, decomposer.row_kind
    if not isinstance(row_kind, RowKind):
        raise TypeError(f"{name}.row_kind is {shown(row_kind)}. Set one of dla.RowKind, such as RowKind.ADDITIVE.")
    return replace(Plan.of(name, items_of(decomposer, model), row_kind), made_by=((None, decomposer),))


def items_of(decomposer: Decomposer, model: ModelAdapter) -> tuple[Item, ...]:
    """What `writes` of a decomposer gives, checked. It may be a generator, which can be read once only.

    Raises:
        TypeError: If it is not a list, or an item of it is neither a write nor an entry.
    """
    return checked_items(type(decomposer).__name__, decomposer.writes(model))


def as_decomposer(given: object) -> Decomposer:
    """A decomposer, checked.

    Raises:
        TypeError: If it is not one, such as a class instead of an instance.
    """
    if not isinstance(given, Decomposer):
        raise TypeError(f"{shown(given)} is not a Decomposer. Pass an instance, such as HeadDecomposer().")
    return given


@final
@dataclass(frozen=True)
class MixedDecomposer(Decomposer):
    """Several decompositions in one, made by `a | b`: each part of the stream is split by the one that splits it.

    Attributes:
        decomposers: The decompositions; what one leaves whole another may split.

    Raises:
        TypeError: If one of them is not a decomposer.
        ValueError: If the rows of one do not add up.
    """

    decomposers: tuple[Decomposer, ...]

    def __post_init__(self) -> None:
        if not items(self.decomposers):
            raise TypeError(f"The decomposers are {shown(self.decomposers)}. Pass several in a tuple, or write a | b.")
        for decomposer in map(as_decomposer, self.decomposers):
            if decomposer.row_kind is not RowKind.ADDITIVE:
                name = type(decomposer).__name__
                raise ValueError(f"The rows of {name} do not add up, so it cannot be a part of a mixed decomposition.")

    def writes(self, model: ModelAdapter) -> Sequence[Item]:
        """The plan.

        Raises:
            ValueError: If two of the decomposers split the same embedding or sublayer; names it.
        """
        named = [(type(decomposer).__name__, items_of(decomposer, model)) for decomposer in self.decomposers]
        return merged_plans(named, model)
