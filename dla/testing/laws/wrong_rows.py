"""Which rows are not what the parts of their names write, and what they are instead: proven by putting those in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.anatomy import Anatomy
from dla.decomposers import HeadDecomposer
from dla.labels import Label
from dla.testing.altered_adapter import AlteredAdapter
from dla.testing.laws.case import Case
from dla.text import some_of

_CLEAR = 1e-2
"""A cause is named if it explains all but this share of what is to be explained."""

_Row = Float[Tensor, "*shape"]
_Rows = Mapping[Label, _Row]


@final
@dataclass(frozen=True, eq=False)
class WrongRows:
    """Rows with known names that are something else.

    Attributes:
        known: What the parts of all known names write.
        rows: The rows, with the labels of the parts.
        missing: What the parts write that have no row, where others of their kind and layer have one.
    """

    known: _Rows
    rows: _Rows
    missing: _Rows

    @property
    def change(self) -> _Row:
        """What the sum gains when each is replaced by what the part of its name writes."""
        changes = [self.known[label] - row for label, row in self.rows.items()]
        return torch.stack([*changes, *self.missing.values()]).sum(0)

    def explain(self, gap: _Row) -> bool:
        """Whether with the right rows a gap is gone."""
        return bool(self.rows or self.missing) and is_small(gap - self.change, gap)


def wrong_rows(known: _Rows, rows: _Rows) -> WrongRows:
    """The rows that differ from what is known under their names.

    Args:
        known: What the parts of some names write.
        rows: Rows by name.
    """
    differing = {
        label: row.double()
        for label, row in rows.items()
        if label in known and not is_small(row.double() - known[label].double(), known[label].double(), 1e-3)
    }
    exact, groups = {label: row.double() for label, row in known.items()}, {(key.kind, key.layer) for key in rows}
    missing = {key: row for key, row in exact.items() if key not in rows and (key.kind, key.layer) in groups}
    return WrongRows(exact, differing, {key: row for key, row in missing.items() if key.layer is not None})


def words_of_wrong_rows(case: Case, wrong: WrongRows, direction: Any) -> str:
    """What is wrong with rows, where putting the right ones in makes the sum right.

    Args:
        case: What was tried.
        wrong: The rows.
        direction: What was asked.
    """
    said = []
    if wrong.missing:
        said.append(f"No row is {some_of(repr(str(label)) for label in wrong.missing)}: with what is missing")
    if wrong.rows:
        named, many = some_of(repr(str(label)) for label in wrong.rows), len(wrong.rows) > 1
        said.append(
            f"Row{'s' if many else ''} {named} {'are' if many else 'is'} not what parts of that name write: with those"
        )
    return " ".join([f"{'. '.join(said)} the sum is right.", *_instead(case, wrong, direction)])


def _instead(case: Case, wrong: WrongRows, direction: Any) -> Iterator[str]:
    """What the first of the rows is, if anything fits it."""
    for label, row in list(wrong.rows.items())[:1]:
        known, name = wrong.known[label], repr(str(label))
        weights = next(
            (what for what, other in _other_weights(case, label, direction) if is_small(row - other, row)), ""
        )
        reads = _other_reads(case, label, direction)
        alike = {repr(str(key)): other for key, other in wrong.known.items() if _are_alike(key, label)}
        right = ((row - known).abs() <= _CLEAR * known.abs().max()) & (known != 0)
        if weights:
            yield f"{name} is {weights}."
        elif combination_of(row, alike):
            yield f"{name} is {combination_of(row, alike)}."
        elif combination_of(row, reads):
            yield f"{name} has its own `W_O`, and reads {combination_of(row, reads)}."
        elif bool(right.any()) and not bool(row[~right].any()):
            yield f"{name} is right at some positions and 0 at {int((~right).sum())} of {right.numel()}: it is cut off."


def _are_alike(one: Label, other: Label) -> bool:
    return one.kind == other.kind and one.layer == other.layer


def combination_of(row: _Row, known: Mapping[str, _Row]) -> str:
    """A row as a sum of a few known ones with their factors; empty if it is none, or there are too few numbers.

    Args:
        row: The row.
        known: Rows by what they are called.
    """
    names, target = list(known), row.flatten().double()
    if not names or len(target) < 2 * len(names) or not bool(target.any()):
        return ""
    matrix = torch.stack([known[name].flatten().double() for name in names], -1)
    factors = torch.linalg.lstsq(matrix, target.unsqueeze(-1)).solution.squeeze(-1)
    if not is_small(matrix @ factors - target, target):
        return ""
    terms = [
        name if abs(factor - 1) < _CLEAR else f"{factor:.3g} × {name}"
        for name, factor in zip(names, factors.tolist(), strict=True)
        if abs(factor) > _CLEAR
    ]
    return " plus ".join(terms) if len(terms) <= 4 else ""


def _other_weights(case: Case, label: Label, direction: Any) -> Iterator[tuple[str, _Row]]:
    """What a head would write with the `W_O` of another head or layer, or with one that is laid out otherwise."""
    for name, change in _changes(case.adapter.anatomy, label):
        rows = _with_weights(case, label, change, direction)
        yield from ((name, row) for part, row in rows.items() if part == label)


def _other_reads(case: Case, label: Label, direction: Any) -> dict[str, _Row]:
    """What other heads of the layer read, as a head would write it."""
    own = _weights(case.adapter.anatomy).get(label.layer) if label.kind == "head" else None
    if own is None or label.index is None:
        return {}
    found: dict[str, _Row] = {}
    for step in range(len(own)):
        rows = _with_weights(case, label, own.roll(step, 0), direction)
        reader = (label.index + step) % len(own)
        found |= {f"what {str(part)!r} reads": row for part, row in rows.items() if part.index == reader}
    return found


def _with_weights(
    case: Case, label: Label, weight: Float[Tensor, "head d_head d_model"], direction: Any
) -> dict[Label, _Row]:
    """The rows of the heads of a layer with another `W_O`."""
    assert label.layer is not None
    adapter = AlteredAdapter(case.adapter, partial(_altered, layer=label.layer, weight=weight))
    result = case.by(HeadDecomposer()).attribute(direction, model=adapter)
    return {key: row.double() for key, row in zip(result.parts, result.values, strict=True) if _are_alike(key, label)}


def _weights(anatomy: Anatomy) -> dict[int | None, Float[Tensor, "head d_head d_model"]]:
    """`W_O` by layer."""
    heads = ((i, s.heads) for i, block in enumerate(anatomy.blocks) for s in block.sublayers)
    return {i: each.W_O for i, each in heads if each is not None}


def _changes(anatomy: Anatomy, label: Label) -> Iterator[tuple[str, Float[Tensor, "head d_head d_model"]]]:
    heads = _weights(anatomy)
    own = heads.get(label.layer) if label.kind == "head" else None
    if own is None:
        return
    count, width, d_model = own.shape
    for other, theirs in heads.items():
        if other != label.layer and theirs.shape == own.shape:
            yield f"what that head reads, times `W_O` of layer {other}", theirs
    for step in range(1, count):
        head = ((label.index or 0) + step) % count
        yield f"what that head reads, times `W_O` of head {head}", own.roll(-step, 0)
    flat = own.flatten(0, 1)
    yield (
        "made with `W_O` as [d_head, head] instead of [head, d_head]",
        flat.unflatten(0, (width, count)).transpose(0, 1),
    )
    if count * width == d_model:
        yield "made with the transpose of `W_O`", flat.T.unflatten(0, (count, width))


def _altered(anatomy: Anatomy, layer: int, weight: Float[Tensor, "head d_head d_model"]) -> Anatomy:
    blocks = list(anatomy.blocks)
    sublayers = [
        s if s.heads is None else replace(s, heads=replace(s.heads, W_O=weight)) for s in blocks[layer].sublayers
    ]
    blocks[layer] = replace(blocks[layer], sublayers=tuple(sublayers))
    return replace(anatomy, blocks=tuple(blocks))


def is_small(left: _Row, gap: _Row, share: float = _CLEAR) -> bool:
    """Whether nothing of a gap is left but a small share."""
    return bool(left.abs().max() <= share * gap.abs().max())
