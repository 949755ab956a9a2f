"""Rows of two attributions, side by side."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.decomposers.rows import RowKind
from dla.labels import Label
from dla.results.attribution import Attribution
from dla.testing.laws.case import Problem
from dla.testing.laws.compare import deviation, largest_size

_Row = Float[Tensor, "*direction_batch_and_pos"]


def key_of(label: Label) -> Label:
    """The label without the text of the token that it comes from: that depends on what else is in the batch."""
    return label if label.source is None else replace(label, text=None)


def rows_of(result: Attribution) -> dict[Label, _Row]:
    """The rows by the key of their labels."""
    return {key_of(label): row for label, row in zip(result.parts, result.values, strict=True)}


@final
@dataclass(frozen=True, eq=False)
class AlignedRow:
    """One row of several attributions.

    Attributes:
        label: Its label.
        values: Its values in each of them.
    """

    label: Label
    values: tuple[_Row, ...]


def aligned(*results: Attribution) -> Iterator[AlignedRow]:
    """The rows of several attributions of one thing, side by side.

    Which rows there are may depend on the numbers, where only the strongest are shown. A row that one attribution
    lacks is taken to be zero there; if it is not zero elsewhere, what each embedding and sublayer sums to is compared
    instead.
    """
    found = [rows_of(result) for result in results]
    keys = dict.fromkeys(key for rows in found for key in rows)
    gone = [row for key in keys for row in (rows.get(key) for rows in found) if any(key not in rows for rows in found)]
    if any(row is not None and bool((row.nan_to_num(0.0) != 0).any()) for row in gone) and _adds_up(results[0]):
        results = tuple(result.group_by("component") for result in results)
        found = [rows_of(result) for result in results]
        keys = dict.fromkeys(key for rows in found for key in rows)
    labels = {key_of(label): label for result in results for label in result.parts}
    for key in keys:
        like = next(rows[key] for rows in found if key in rows)
        yield AlignedRow(labels[key], tuple(_or_zero(rows.get(key), like) for rows in found))


def problem_of_rows(
    got: Attribution, expected: Attribution, eps: float, said: str, scale: float = 1.0
) -> Problem | None:
    """What is wrong with rows that should be those of another attribution, up to a factor; None if nothing is.

    Args:
        got: An attribution.
        expected: The one that it should be.
        eps: The rounding unit.
        said: What should be so, the beginning of a sentence.
        scale: What the expected numbers are multiplied by.
    """
    size = largest_size(got, expected) * max(1.0, abs(scale))
    for row in aligned(got, expected):
        left, right = row.values
        if left.shape != right.shape:
            return Problem(
                f"{said}: row {str(row.label)!r} should have shape {list(right.shape)}, got {list(left.shape)}."
            )
        missed = deviation(left, scale * right, size, eps)
        if missed is not None:
            return Problem(f"{said}: row {str(row.label)!r} at {list(missed.where)}: {missed}.")
    return None


def _adds_up(result: Attribution) -> bool:
    return result.provenance.row_kind == RowKind.ADDITIVE.value


def _or_zero(row: _Row | None, like: _Row) -> _Row:
    return torch.where(like.isnan(), like, 0.0) if row is None else row
