"""Rows of two attributions, side by side."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.decomposers.plans import RowKind
from dla.labels import Label
from dla.results.attribution import Attribution
from dla.testing.laws.case import Problem
from dla.testing.laws.compare import largest_of, miss

Key = tuple[object, ...]
"""What a label says, without the text of the token that it comes from: that depends on what else is in the batch."""


def key_of(label: Label) -> Key:
    """What tells two rows apart in any prompts."""
    return (label.kind, label.layer, label.index, label.source, None if label.source is not None else label.text)


def rows_of(result: Attribution) -> dict[Key, Float[Tensor, "*direction_batch_and_pos"]]:
    """The rows by what their labels say."""
    return {key_of(label): row for label, row in zip(result.parts, result.values, strict=True)}


@final
@dataclass(frozen=True, eq=False)
class Aligned:
    """One row of several attributions.

    Attributes:
        label: Its label.
        values: In each of them.
    """

    label: Label
    values: tuple[Tensor, ...]


def aligned(*results: Attribution) -> Iterator[Aligned]:
    """The rows of several attributions of one thing, side by side.

    A row that one of them lacks is zero there, if it may be. Where rows depend on the numbers (only the strongest are
    shown) each has others; then what each embedding and sublayer comes to is compared.
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
        yield Aligned(labels[key], tuple(_or_zero(rows.get(key), like) for rows in found))


def same_rows(got: Attribution, expected: Attribution, eps: float, said: str, scale: float = 1.0) -> Problem | None:
    """What is wrong with rows that should be those of another attribution, up to a factor."""
    size = largest_of(got, expected) * max(1.0, abs(scale))
    for row in aligned(got, expected):
        left, right = row.values
        if left.shape != right.shape:
            return Problem(
                f"{said}: row {str(row.label)!r} should have shape {list(right.shape)}, got {list(left.shape)}."
            )
        missed = miss(left, scale * right, size, eps)
        if missed is not None:
            return Problem(f"{said}: row {str(row.label)!r} at {list(missed.where)}: {missed}.")
    return None


def _adds_up(result: Attribution) -> bool:
    return result.provenance.row_kind == RowKind.ADDITIVE.value


def _or_zero(row: Tensor | None, like: Tensor) -> Tensor:
    return torch.where(like.isnan(), like, 0.0) if row is None else row
