"""The rows of two attributions, side by side."""

from collections.abc import Hashable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from dla.labels import Label
from dla.results.attributed import AttributedRows
from dla.text import some_of


def check_comparable(first: AttributedRows, second: AttributedRows) -> None:
    """Refuses two attributions whose rows do not stand for the same.

    Raises:
        ValueError: If they have other axes, directions by other names, rows of another kind, or no part in common.
    """
    one, other = first.provenance, second.provenance
    if one.row_kind != other.row_kind:
        raise ValueError(f"The rows of one are {one.row_kind} and of the other {other.row_kind}. Compare equal kinds.")
    if first.directions != second.directions:
        raise ValueError(
            f"The directions of one are {some_of(first.directions) or 'a single one'} and of the other "
            f"{some_of(second.directions) or 'a single one'}. Ask both for directions by the same names, or take one: "
            "result.direction(name)."
        )
    if first.total.shape != second.total.shape:
        sizes = [dict(zip(each.provenance.dims, each.total.shape, strict=True)) for each in (first, second)]
        raise ValueError(
            f"One has the axes {sizes[0]} and the other {sizes[1]}. Ask both at as many positions of as many prompts."
        )
    if not {_key(part) for part in first.parts} & {_key(part) for part in second.parts}:
        raise ValueError(
            f"{one.decomposer} and {other.decomposer} have no part in common ({some_of(first.labels, 3)}; and "
            f"{some_of(second.labels, 3)}). Attribute both with one decomposer."
        )


def rows_of_both(
    first: AttributedRows, second: AttributedRows
) -> tuple[
    tuple[Label, ...], Float[Tensor, "part *direction_batch_and_pos"], Float[Tensor, "part *direction_batch_and_pos"]
]:
    """The labels of either, those of the first in front, and the values of both; 0 where one lacks a row."""
    labels: dict[Hashable, Label] = {_key(part): part for part in first.parts}
    for part in second.parts:
        known = labels.setdefault(_key(part), part)
        if str(known) != str(part):  # the same source in prompts with another token there
            labels[_key(part)] = replace(known, text=f"{known.parent} ← {known.source}")
    parts = tuple(labels.values())
    return (
        parts,
        rows_at(parts, first.parts, first.values),
        rows_at(parts, second.parts, second.values.to(first.values)),
    )


def rows_at(
    parts: tuple[Label, ...], known: tuple[Label, ...], values: Float[Tensor, "row *direction_batch_and_pos"]
) -> Float[Tensor, "part *direction_batch_and_pos"]:
    """The values of some parts; 0 for those that are no row.

    Args:
        parts: The parts.
        known: The labels of the rows.
        values: Their values.
    """
    places = {_key(part): i for i, part in enumerate(known)}
    zero = torch.zeros_like(values[:1]).masked_fill(values[:1].isnan(), torch.nan)
    return torch.cat([values, zero])[[places.get(_key(part), len(known)) for part in parts]]


def _key(part: Label) -> Hashable:
    """By what a part is found in another attribution: a source by its position, whatever token stands there."""
    return part if part.source is None else (part.kind, part.layer, part.index, part.source)
