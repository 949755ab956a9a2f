"""Which rows of a finer decomposition are the pieces of a row, of a group or of a span."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch

from dla.decomposers.groups import Grouping, Renaming
from dla.decomposers.plans import Entry, Item, Plan, PromptReduction
from dla.decomposers.rows import Reduction, Rows
from dla.decomposers.spans import SpanGrouping
from dla.inputs.prompts import Prompts
from dla.labels import Label
from dla.writes import Write


def plan_of_pieces(label: Label, plan: Plan, items: Sequence[Item], prompts: Prompts, name: str) -> Plan | None:
    """A plan of the pieces of one row; None where no item has any.

    Args:
        label: The row.
        plan: The plan that it is a row of.
        items: Those of the finer decomposition.
        prompts: The prompts.
        name: What the plan is called.
    """
    for first in range(len(plan.groupings) + 2):
        pieces = PiecesOf.of(label, plan, prompts, first)
        some = tuple(Entry.of(item).then(pieces) for item in items if _may_hold(item, pieces))
        if some and any(map(pieces.holds, (each for item in some for each in item.write(prompts).labels))):
            return Plan(name, some)
    return None


@final
@dataclass(frozen=True, eq=False)
class PiecesOf:
    """Keeps the rows that are pieces of one row of a plan; what is a piece in some prompts only is 0 in the others.

    A row is a piece of those that its label has as parents, and of the group that the plan would have put it, or one of
    these parents, into.

    Attributes:
        label: The row.
        groupings: What the plan's coarser rows were made by.
        of_finer: For parts of the model whose rows are sums of finer ones, what made them so.
    """

    label: Label
    groupings: Sequence[Grouping | SpanGrouping]
    of_finer: dict[Label, SpanGrouping]

    @staticmethod
    def of(label: Label, plan: Plan, prompts: Prompts, first: int = 0) -> "PiecesOf":
        """The pieces of a row.

        Args:
            label: The row.
            plan: The plan that it is a row of.
            prompts: The prompts.
            first: How many of the steps to the plan's rows are left out: what makes rows of finer ones, then each of
                its groupings. Pieces that came into the plan later had none of these.
        """
        own = [_resolved(each, prompts) for each in plan.groupings[max(0, first - 1) :]]
        made = plan.items if first == 0 else ()
        entries = [item for item in made if isinstance(item, Entry) and item.of_finer is not None]
        finer = {entry.parent: _resolved(entry.of_finer, prompts) for entry in entries}
        return PiecesOf(
            label,
            [each for each in own if isinstance(each, Grouping | SpanGrouping)],
            {parent: each for parent, each in finer.items() if isinstance(each, SpanGrouping)},
        )

    @property
    def prompts(self) -> int:
        """How many prompts there are whose pieces differ; 1 where all have the same."""
        return max((each.prompts for each in (*self.groupings, *self.of_finer.values())), default=1)

    def holds(self, label: Label) -> bool:
        """Whether a row is a piece in any prompt."""
        return any(self._in_prompt(i)(label) for i in range(self.prompts))

    def __call__(self, rows: Rows) -> Rows:
        each = [list(map(self._in_prompt(i), rows.labels)) for i in range(self.prompts)]
        keep = [i for i in range(len(rows.labels)) if any(own[i] for own in each)]
        values = rows.values[keep]
        if any(not own[i] for own in each for i in keep):
            mask = torch.tensor([[own[i] for own in each] for i in keep], device=values.device)
            values = values * mask[:, None, :, None]  # [part direction batch pos]
        return Rows([rows.labels[i] for i in keep], values)

    def _in_prompt(self, i: int) -> Callable[[Label], bool]:
        rules = [_rule(each, i) for each in self.groupings]
        finest = {part: _rule(each, i) for part, each in self.of_finer.items()}

        def grouped(label: Label) -> Label:
            first = [finest[part] for part in label.path() if part in finest][:1]
            for rule in (*first, *rules):
                label = rule(label)
            return label

        def belongs(label: Label) -> bool:
            return label != self.label and any(self.label in (part, grouped(part)) for part in label.path())

        return belongs


def _may_hold(item: Item, pieces: PiecesOf) -> bool:
    """Whether rows of an item may be pieces, before an entry's labels are known."""
    if isinstance(item, Write):
        return any(map(pieces.holds, item.labels))
    above = pieces.label
    return bool(pieces.groupings) or above in item.parent.path() or item.parent in above.path()


def _rule(grouping: Grouping | SpanGrouping, prompt: int) -> Renaming:
    return grouping.rule(prompt if grouping.prompts > 1 else 0)


def _resolved(grouping: Reduction | PromptReduction | None, prompts: Prompts) -> Reduction | None:
    return grouping.resolve(prompts) if isinstance(grouping, PromptReduction) else grouping
