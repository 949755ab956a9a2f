"""Plans: what a decomposer wants to read of a model, and how what was read becomes labelled rows."""

import enum
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dla.inputs.prompts import Prompts
from dla.labels import ROUNDING, Label
from dla.writes import Write


class RowKind(enum.Enum):
    """What the rows of a decomposition have to do with the total."""

    ADDITIVE = "additive"
    """The rows add up to the total."""

    CUMULATIVE = "cumulative"
    """The rows follow the stream as it grows; the last row is the total."""

    LENS = "lens"
    """The rows are what the stream would say at each place if it ended there, each on a scale of its own; the last row
    is the total, and nothing adds up."""


GROUP = "group"
"""The kind of the rows that may come from several writes: rows of one group add up."""


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """Labelled values of some parts.

    Attributes:
        labels: One a row.
        values: What the direction reads of each, up to the final norm's scale.
    """

    labels: Sequence[Label]
    values: Float[Tensor, "part *more"]


Reduction = Callable[[Rows], Rows]


@final
@dataclass(frozen=True, eq=False)
class Entry:
    """A write whose rows are known only when the prompts, or the numbers, are known.

    Attributes:
        parent: The part whose pieces these rows are.
        resolve: The write for some prompts, with their labels.
        reductions: What is done with the rows, in turn, as soon as they are contracted. Each keeps their sum.
    """

    parent: Label
    resolve: Callable[[Prompts], Write]
    reductions: tuple[Reduction, ...] = ()

    def then(self, reduction: Reduction) -> "Entry":
        """This entry, with one more thing done to its rows."""
        return Entry(self.parent, self.resolve, (*self.reductions, reduction))

    @staticmethod
    def of(item: "Write | Entry") -> "Entry":
        """An entry for a write that depends on nothing."""
        return item if isinstance(item, Entry) else Entry(item.labels[0], lambda _: item)


Item = Write | Entry
"""What a plan is made of."""


@final
@dataclass(frozen=True, eq=False)
class PlanStep:
    """One write, and what is done with its rows."""

    write: Write
    reductions: tuple[Reduction, ...] = ()

    @property
    def adds(self) -> bool:
        """Whether its row is one that several steps add to: what is rounded away."""
        return all(label.kind == ROUNDING for label in self.write.labels)

    def reduced(self, values: Float[Tensor, "part *more"]) -> Rows:
        """The rows of what was contracted."""
        rows = Rows(self.write.labels, values)
        for reduction in self.reductions:
            rows = reduction(rows)
        return rows


@final
@dataclass(frozen=True, eq=False)
class Plan:
    """The items of a decomposition of one model.

    Attributes:
        name: The decomposer's, for messages.
        items: What it wants to read.
        row_kind: What the rows have to do with the total.
        adding: Whether any rows with the same label add up, not only those of a group.
        apart: Whether what is rounded away stays apart, a row a step, and is not one row.
    """

    name: str
    items: tuple[Item, ...]
    row_kind: RowKind = RowKind.ADDITIVE
    adding: bool = False
    apart: bool = False

    @staticmethod
    def of(name: str, items: Sequence[Any], row_kind: RowKind = RowKind.ADDITIVE) -> "Plan":
        """What a decomposer returned, checked.

        Args:
            name: The decomposer's.
            items: What it wants to read.
            row_kind: What the rows have to do with the total.

        Raises:
            TypeError: If an item is neither a write nor an entry.
            ValueError: If there is none, or two rows could not be told apart.
        """
        for item in items:
            if not isinstance(item, Write | Entry):
                raise TypeError(f"{name}.writes returned {item!r}; every item must be a Write or an Entry.")
        if not items:
            raise ValueError(f"{name} names no part. Return at least one write.")
        plan = Plan(name, tuple(items), row_kind)
        _ = plan.static_labels  # where the labels are known already, two equal ones raise here and not during a run
        return plan

    @cached_property
    def static_labels(self) -> tuple[Label, ...] | None:
        """All labels, where they depend on nothing."""
        writes = [item for item in self.items if isinstance(item, Write)]
        if len(writes) < len(self.items):
            return None
        return told_apart(self._shown([label for write in writes for label in write.labels]), self.name)

    def steps(self, prompts: Prompts) -> tuple[PlanStep, ...]:
        """The writes for some prompts."""
        return tuple(
            PlanStep(item) if isinstance(item, Write) else PlanStep(item.resolve(prompts), item.reductions)
            for item in self.items
        )

    def labels_of(self, steps: Sequence[PlanStep]) -> tuple[Label, ...] | None:
        """All labels of some steps, where each row that is contracted is one of the result.

        Raises:
            ValueError: If two rows could not be told apart.
        """
        if self.static_labels is not None:
            return self.static_labels
        labels = [label for step in steps for label in step.write.labels]
        if self.adding or any(step.reductions for step in steps) or any(label.kind == GROUP for label in labels):
            return None
        return told_apart(self._shown(labels), self.name)

    def merged(self, parts: Sequence[Rows]) -> Rows:
        """All rows in one, those of one group added up.

        Raises:
            ValueError: If two rows could not be told apart.
        """
        parts = sorted(parts, key=lambda rows: self._is_merged(rows.labels))
        values = room_for(sum(len(rows.labels) for rows in parts), parts[0].values)
        for place, rows in zip(values.split([len(rows.labels) for rows in parts]), parts, strict=True):
            place.copy_(rows.values)
        labels = [self._merged(label) for rows in parts for label in rows.labels]
        rows = Rows(labels, values)
        rows = added_up(rows) if self.adding or any(label.kind in (GROUP, ROUNDING) for label in labels) else rows
        return Rows(told_apart(rows.labels, self.name), rows.values)

    def places(
        self, steps: Sequence[PlanStep], into: Float[Tensor, "part *more"] | None
    ) -> Sequence[Float[Tensor, "_ *more"]]:
        """Where the rows of each step belong among those of `labels_of`; none where that is not known.

        What is rounded away is added up in its place, which is 0 now.
        """
        if into is None:
            return ()
        own = [step for step in steps if not self._is_merged(step.write.labels)]
        places = iter(into[: sum(len(step.write.labels) for step in own)].split([len(s.write.labels) for s in own]))
        found = [into[-1:] if self._is_merged(step.write.labels) else next(places) for step in steps]
        for place, step in zip(found, steps, strict=True):
            if step.adds:
                place.zero_()
        return found

    def _is_merged(self, labels: Sequence[Label]) -> bool:
        return not self.apart and all(label.kind == ROUNDING for label in labels)

    def _merged(self, label: Label) -> Label:
        return label if self.apart else label_of_sum(label)

    def _shown(self, labels: Sequence[Label]) -> list[Label]:
        """The labels, what is rounded away as one, and last."""
        own = [label for label in labels if self._merged(label) is label]
        return own if len(own) == len(labels) else [*own, Label(ROUNDING)]

    def then(self, reduction: Reduction, adding: bool = False) -> "Plan":
        """This plan, with one more thing done to its rows."""
        items = tuple(Entry.of(item).then(reduction) for item in self.items)
        return replace(self, items=items, adding=adding or self.adding)


def told_apart(labels: Sequence[Label], whose: str) -> tuple[Label, ...]:
    """The labels, each of which names one row.

    Args:
        labels: The labels.
        whose: Who made them, for the error.

    Raises:
        ValueError: If two are alike.
    """
    twice = [label for label, count in Counter(map(str, labels)).items() if count > 1]
    if twice:
        raise ValueError(f"{whose} names two parts {twice[0]!r}. Give every part a label of its own.")
    return tuple(labels)


def label_of_sum(label: Label) -> Label:
    """The label of the row that a row is added to: all that is rounded away is one row."""
    return Label(ROUNDING) if label.kind == ROUNDING else label


def room_for(count: int, like: Float[Tensor, "_ *more"]) -> Float[Tensor, "{count} *more"]:
    """Room for so many rows. Parts lie side by side in memory, as activations show them: nothing is transposed."""
    shape = (*like.shape[1:], count)
    if like.device.type != "cpu" or like.requires_grad:
        return like.new_empty(shape).movedim(-1, 0)
    # NumPy asks the system for huge pages, PyTorch does not: without them touching the memory takes longest.
    return torch.from_numpy(np.empty(shape, str(like.dtype).removeprefix("torch."))).movedim(-1, 0)


def rows_where(rows: Rows, keep: Callable[[Label], bool]) -> Rows:
    """Some of the rows."""
    places = [i for i, label in enumerate(rows.labels) if keep(label)]
    return Rows([rows.labels[i] for i in places], rows.values[places])


def rounding_last(rows: Rows) -> Rows:
    """All that is rounded away as one row, the last."""
    lost = [i for i, label in enumerate(rows.labels) if label.kind == ROUNDING]
    if len(lost) < 2:
        return rows
    own = rows_where(rows, lambda label: label.kind != ROUNDING)
    row = rows.values[lost].sum(0, keepdim=True)
    return Rows([*own.labels, Label(ROUNDING)], torch.cat([own.values, row]))


def added_up(rows: Rows) -> Rows:
    """Rows with the same label as one, in the order of the first of each."""
    places = {label: i for i, label in enumerate(dict.fromkeys(rows.labels))}
    if len(places) == len(rows.labels):
        return rows
    index = torch.tensor([places[label] for label in rows.labels], device=rows.values.device)
    summed = rows.values.new_zeros(len(places), *rows.values.shape[1:])
    return Rows(tuple(places), summed.index_add_(0, index, rows.values))
