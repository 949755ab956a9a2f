"""Rows by source added up over named spans of the prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch

from dla.decomposers.plans import PromptReduction
from dla.decomposers.rows import Rows, added_up
from dla.inputs.spans import SpanPlaces, Spans, locator
from dla.labels import Label

SPAN = "span"
"""The kind of what a head reads from a span."""


def span_label(label: Label, name: str) -> Label:
    """The label of the row of a span that the row of a source belongs to.

    Args:
        label: That of a source, of one head or of all.
        name: The span's.
    """
    reader = str(label).partition("← ")[0]
    kind = SPAN if label.kind == "source" else label.kind
    return Label(kind, label.layer, label.index, f"{reader}← {name}", parent=label.parent)


@final
@dataclass(frozen=True)
class SpanGrouping:
    """Adds up the rows of the sources in each span; other rows stay.

    Where the prompts have their spans at other positions, a source belongs to another row in each of them.

    Attributes:
        places: Where the spans are.
        axis: The axis of the prompts in the rows' values; None where there is one prompt and no axis.
    """

    places: SpanPlaces
    axis: int | None = 2

    @property
    def prompts(self) -> int:
        """How many prompts there are whose rules differ; 1 where all have the same."""
        same = len(set(self.places.positions)) == 1
        return 1 if same else len(self.places.positions)

    def rule(self, prompt: int) -> Callable[[Label], Label]:
        """The label of the row that a row belongs to in one prompt."""
        rows, own = self.places.rows, self.places.positions[prompt]
        owner = {position: name for name, positions in zip(rows, own, strict=False) for position in positions}
        return lambda label: label if label.source is None else span_label(label, owner.get(label.source, rows[-1]))

    def __call__(self, rows: Rows) -> Rows:
        batch = self.prompts
        if batch == 1 or not any(label.source is not None for label in rows.labels):
            return added_up(Rows(list(map(self.rule(0), rows.labels)), rows.values))
        assert self.axis is not None, "there is one prompt without an axis of prompts"
        each = [list(map(self.rule(i), rows.labels)) for i in range(batch)]
        values = rows.values.movedim(self.axis, 0).expand(batch, *_without(rows.values.shape, self.axis))
        labels = dict.fromkeys(label for own in each for label in own)
        places = {label: i for i, label in enumerate(labels)}
        summed = []
        for own, of_prompt in zip(each, values, strict=True):
            index = torch.tensor([places[label] for label in own], device=values.device)
            summed.append(of_prompt.new_zeros(len(labels), *of_prompt.shape[1:]).index_add(0, index, of_prompt))
        return Rows(tuple(labels), torch.stack(summed, self.axis))


def span_reduction(spans: Spans) -> PromptReduction:
    """The grouping of rows by source for whatever prompts there are."""
    located = locator(spans)
    return PromptReduction(lambda prompts: SpanGrouping(located(prompts)))


def _without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])
