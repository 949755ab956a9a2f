"""Named sets of rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Decomposer, as_decomposer, items_of
from dla.decomposers.groups import Grouping, Selector, check_groups, named_groups
from dla.decomposers.plans import Entry, Item
from dla.decomposers.rows import RowKind
from dla.labels import ROUNDING
from dla.writes import Write


@final
@dataclass(frozen=True)
class GroupDecomposer(Decomposer):
    """The rows of another decomposer, those of each group added up: "name movers", "MLPs 0-3". Other rows stay.

    What half precision rounds away is complete only after the run, and stays a row of its own; `group_by` of the result
    can put it into a group.

    Attributes:
        inner: The other decomposer.
        groups: Which rows belong to each name: a label, several labels, a regular expression that matches all of a
            label, or a function of the label.

    Raises:
        TypeError: If `inner` is not a decomposer, or a group cannot be read.
        ValueError: If there is no group, or the rows do not add up.
    """

    inner: Decomposer
    groups: Mapping[str, Selector]

    def __post_init__(self) -> None:
        named_groups(self.groups)
        if as_decomposer(self.inner).row_kind is not RowKind.ADDITIVE:
            name = type(self.inner).__name__
            raise ValueError(f"The rows of {name} do not add up, so they cannot be put into groups.")

    def writes(self, model: ModelAdapter) -> Sequence[Item]:
        """The plan.

        Raises:
            ValueError: If a row belongs to two groups, or a group has no row.
        """
        renamed, items = named_groups(self.groups), items_of(self.inner, model)
        # The labels of an entry are known only when the prompts are, so a plan with entries is not checked beforehand.
        writes = [item for item in items if isinstance(item, Write)]
        if len(writes) == len(items):
            labels = [label for write in writes for label in write.labels]
            check_groups(self.groups, [label for label in labels if label.kind != ROUNDING])
        rule = Grouping(lambda label: label if label.kind == ROUNDING else renamed(label))
        return [Entry.of(item).then(rule) for item in items]
