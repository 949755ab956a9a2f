"""Plans: what a decomposer reads of a model, and how that becomes labelled rows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from dla.decomposers.rows import GROUP, Reduction, RowKind, Rows, added_up, label_of_sum, room_for, unique_labels
from dla.inputs.arguments import check_fields, function, instance
from dla.inputs.given import items, shown
from dla.inputs.prompts import Prompts
from dla.labels import ROUNDING, Label
from dla.writes import Write


@final
@dataclass(frozen=True, eq=False)
class PromptReduction:
    """A reduction that depends on the prompts.

    Attributes:
        resolve: Makes it for some prompts.
    """

    resolve: Callable[[Prompts], Reduction]


@final
@dataclass(frozen=True, eq=False)
class Entry:
    """A write whose rows depend on the prompts, or on the values of the rows.

    Attributes:
        parent: The part whose pieces these rows are.
        resolve: Makes the write for some prompts.
        reductions: Applied to the rows one after the other, as soon as they are contracted.
        labels: Those of its rows before the reductions, where they are the same for all prompts; None where not.
        of_finer: The grouping by which these rows are the sums of finer ones, such as a span's of its sources.
    """

    parent: Label
    resolve: Callable[[Prompts], Write]
    reductions: tuple[Reduction | PromptReduction, ...] = ()
    labels: tuple[Label, ...] | None = None
    of_finer: PromptReduction | None = None

    def __post_init__(self) -> None:
        check_fields(self, parent=Label, reductions=tuple, labels=(tuple, type(None)))
        function(self.resolve, "Entry: resolve", "one from prompts to a Write")

    def write(self, prompts: Prompts) -> Write:
        """The write for some prompts, checked.

        Raises:
            TypeError: If `resolve` gives something else.
        """
        return instance(self.resolve(prompts), Write, f"What `resolve` of an entry of {self.parent} gave", "a Write")

    def then(self, reduction: Reduction | PromptReduction) -> "Entry":
        """This entry, with one more reduction."""
        return replace(self, reductions=(*self.reductions, reduction))

    def step(self, prompts: Prompts) -> "PlanStep":
        """The write for some prompts, and what is done with its rows."""
        own = (each.resolve(prompts) if isinstance(each, PromptReduction) else each for each in self.reductions)
        return PlanStep(self.write(prompts), tuple(own))

    @staticmethod
    def of(item: "Write | Entry") -> "Entry":
        """An entry for a write that does not depend on the prompts."""
        return item if isinstance(item, Entry) else Entry(item.labels[0], lambda _: item)


Item = Write | Entry
"""An item of a plan."""


@final
@dataclass(frozen=True, eq=False)
class PlanStep:
    """One write of a plan for some prompts, and the reductions of its rows."""

    write: Write
    reductions: tuple[Reduction, ...] = ()

    @property
    def adds(self) -> bool:
        """Whether several steps add to its row, as they do to that of what is rounded away."""
        return all(label.kind == ROUNDING for label in self.write.labels)

    def reduced(self, values: Float[Tensor, "part *more"]) -> Rows:
        """The rows of contracted values."""
        rows = Rows(self.write.labels, values)
        for reduction in self.reductions:
            rows = instance(reduction(rows), Rows, "What a reduction gave", "labels with their values, as dla.Rows")
        return rows


@final
@dataclass(frozen=True, eq=False)
class Plan:
    """The items of a decomposition of one model.

    Attributes:
        name: The decomposer's, for messages.
        items: What is read.
        row_kind: How the rows make the total.
        add_equal_labels: Whether all rows with the same label are added up, and not only those of a group.
        rounding_by_step: Whether what is rounded away has a row per step, and is not a single row.
        groupings: What coarser rows were made by, one after the other.
        made_by: The decomposer, then each that split a part, with the part; empty for rows that were made otherwise.
    """

    name: str
    items: tuple[Item, ...]
    row_kind: RowKind = RowKind.ADDITIVE
    add_equal_labels: bool = False
    rounding_by_step: bool = False
    groupings: tuple[Reduction | PromptReduction, ...] = ()
    made_by: tuple[tuple[Label | None, Any], ...] = ()

    @staticmethod
    def of(name: str, items: Iterable[Any], row_kind: RowKind = RowKind.ADDITIVE) -> "Plan":
        """The plan of what a decomposer returned, checked.

        Args:
            name: The decomposer's.
            items: What is read.
            row_kind: How the rows make the total.

        Raises:
            TypeError: If it is no list, or an item is neither a write nor an entry.
            ValueError: If there is no item, or two rows have the same label.
        """
        checked = checked_items(name, items)
        if not checked:
            raise ValueError(f"{name} names no part. Return at least one write.")
        plan = Plan(name, checked, row_kind)
        _ = plan.static_labels  # checks labels that do not depend on the prompts before anything runs
        return plan

    @cached_property
    def static_labels(self) -> tuple[Label, ...] | None:
        """All labels; None if they depend on the prompts or on values."""
        known = [item.labels for item in self.items if isinstance(item, Write) or not item.reductions]
        own = [labels for labels in known if labels is not None]
        if len(own) < len(self.items):
            return None
        return unique_labels(self._shown([label for labels in own for label in labels]), self.name)

    def steps(self, prompts: Prompts) -> tuple[PlanStep, ...]:
        """The writes for some prompts."""
        return tuple(PlanStep(item) if isinstance(item, Write) else item.step(prompts) for item in self.items)

    def labels_of(self, steps: Sequence[PlanStep]) -> tuple[Label, ...] | None:
        """All labels of some steps; None where rows are reduced or added up, which their values decide.

        Raises:
            ValueError: If two rows have the same label.
        """
        if self.static_labels is not None:
            return self.static_labels
        labels = [label for step in steps for label in step.write.labels]
        grouped = any(label.kind == GROUP for label in labels)
        if self.add_equal_labels or grouped or any(step.reductions for step in steps):
            return None
        return unique_labels(self._shown(labels), self.name)

    def merged(self, parts: Sequence[Rows]) -> Rows:
        """All rows as one tensor, those of one group added up.

        Raises:
            ValueError: If two rows have the same label.
        """
        # What is rounded away comes last, in the place that `_shown` gives it among the labels.
        parts = sorted(parts, key=lambda rows: self._is_merged(rows.labels))
        values = room_for(sum(len(rows.labels) for rows in parts), parts[0].values)
        for place, rows in zip(values.split([len(rows.labels) for rows in parts]), parts, strict=True):
            place.copy_(rows.values)
        labels = [self.label_in_result(label) for rows in parts for label in rows.labels]
        rows = Rows(labels, values)
        if self.add_equal_labels or any(label.kind in (GROUP, ROUNDING) for label in labels):
            rows = added_up(rows)
        return Rows(unique_labels(rows.labels, self.name), rows.values)

    def places(
        self, steps: Sequence[PlanStep], into: Float[Tensor, "part *more"] | None
    ) -> Sequence[Float[Tensor, "_ *more"]]:
        """Where the rows of each step belong among those of `labels_of`; empty where that is not known.

        Args:
            steps: The steps.
            into: Room for all rows. The place of what is rounded away is set to 0, since steps add to it.
        """
        if into is None:
            return ()
        # In the order of `_shown`: the rows of all other steps, then one that all rounding is added to.
        own = [step for step in steps if not self._is_merged(step.write.labels)]
        places = iter(into[: sum(len(step.write.labels) for step in own)].split([len(s.write.labels) for s in own]))
        found = [into[-1:] if self._is_merged(step.write.labels) else next(places) for step in steps]
        for place, step in zip(found, steps, strict=True):
            if step.adds:
                place.zero_()
        return found

    def _is_merged(self, labels: Sequence[Label]) -> bool:
        return not self.rounding_by_step and all(label.kind == ROUNDING for label in labels)

    def label_in_result(self, label: Label) -> Label:
        """The label of the row that a row becomes, or is added to."""
        return label if self.rounding_by_step else label_of_sum(label)

    def _shown(self, labels: Sequence[Label]) -> list[Label]:
        """The labels of the result: what is rounded away has one, the last."""
        own = [label for label in labels if self.label_in_result(label) is label]
        return own if len(own) == len(labels) else [*own, Label(ROUNDING)]

    def then(self, reduction: Reduction | PromptReduction, add_equal_labels: bool = False) -> "Plan":
        """This plan, with one more reduction of its rows.

        Args:
            reduction: The reduction.
            add_equal_labels: Whether rows that have the same label after it are added up.
        """
        items = tuple(Entry.of(item).then(reduction) for item in self.items)
        return replace(self, items=items, add_equal_labels=add_equal_labels or self.add_equal_labels)


def checked_items(name: str, given: object) -> tuple[Item, ...]:
    """What a decomposer returned, checked. It may be a generator, which can be read only once.

    Args:
        name: The decomposer's.
        given: What it returned.

    Raises:
        TypeError: If it is no list, or an item is neither a write nor an entry.
    """
    found = list(given) if isinstance(given, Iterator) else items(given)
    if found is None:
        raise TypeError(f"{name}.writes returned {shown(given)}. Return a list of Write and Entry objects.")
    for item in found:
        if not isinstance(item, Write | Entry):
            raise TypeError(f"{name}.writes returned {shown(item)}; every item must be a Write or an Entry.")
    return tuple(found)
