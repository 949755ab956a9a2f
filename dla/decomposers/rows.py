"""Labelled rows: what contracted writes become."""

import enum
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dla.inputs.arguments import check_fields
from dla.inputs.given import shown
from dla.labels import ROUNDING, Label


class RowKind(enum.Enum):
    """How the rows of a decomposition make the total."""

    ADDITIVE = "additive"
    """The rows add up to the total."""

    CUMULATIVE = "cumulative"
    """Each row is the stream up to a place; the last row is the total."""

    LENS = "lens"
    """Each row is the stream up to a place on a scale of its own; the last row is the total."""


GROUP = "group"
"""The kind of rows that may come from several writes: rows of one group are added up."""


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """Labelled values of some parts.

    Attributes:
        labels: One per row.
        values: The dot product of the direction with each part, before the division by the final norm's scale.
    """

    labels: Sequence[Label]
    values: Float[Tensor, "part *more"]

    def __post_init__(self) -> None:
        check_fields(self, labels=Sequence, values=Tensor)


Reduction = Callable[[Rows], Rows]
"""Makes fewer rows of some, with the same sum."""


def unique_labels(labels: Sequence[Label], whose: str) -> tuple[Label, ...]:
    """The labels, checked.

    Args:
        labels: The labels.
        whose: Who made them, for the error.

    Raises:
        ValueError: If two are the same.
    """
    # As texts, by which users name rows: labels that differ only in fields that are not written are no two names.
    twice = [label for label, count in Counter(map(str, labels)).items() if count > 1]
    if twice:
        raise ValueError(f"{whose} names two parts {shown(twice[0])}. Give every part a label of its own.")
    return tuple(labels)


def label_of_sum(label: Label) -> Label:
    """The label of the row that a row is added to: everything that is rounded away is added to one."""
    return Label(ROUNDING) if label.kind == ROUNDING else label


def room_for(count: int, like: Float[Tensor, "_ *more"]) -> Float[Tensor, "{count} *more"]:
    """Room for so many rows, with the other axes of `like`."""
    # In memory the parts are the last axis, as in activations (heads, neurons), so that nothing is transposed.
    shape = (*like.shape[1:], count)
    if like.device.type != "cpu" or like.requires_grad:
        return like.new_empty(shape).movedim(-1, 0)
    # NumPy asks the system for huge pages and PyTorch does not. Without them most time goes into the first access.
    return torch.from_numpy(np.empty(shape, str(like.dtype).removeprefix("torch."))).movedim(-1, 0)


def rows_where(rows: Rows, keep: Callable[[Label], bool]) -> Rows:
    """Some of the rows."""
    places = [i for i, label in enumerate(rows.labels) if keep(label)]
    return Rows([rows.labels[i] for i in places], rows.values[places])


def rounding_last(rows: Rows) -> Rows:
    """The rows, with everything that is rounded away as one row, the last."""
    lost = [i for i, label in enumerate(rows.labels) if label.kind == ROUNDING]
    if len(lost) < 2:
        return rows
    own = rows_where(rows, lambda label: label.kind != ROUNDING)
    row = rows.values[lost].sum(0, keepdim=True)
    return Rows([*own.labels, Label(ROUNDING)], torch.cat([own.values, row]))


def added_up(rows: Rows) -> Rows:
    """The rows, those with the same label added up, in the order of the first of each."""
    places = {label: i for i, label in enumerate(dict.fromkeys(rows.labels))}
    if len(places) == len(rows.labels):
        return rows
    index = torch.tensor([places[label] for label in rows.labels], device=rows.values.device)
    summed = rows.values.new_zeros(len(places), *rows.values.shape[1:])
    return Rows(tuple(places), summed.index_add_(0, index, rows.values))
