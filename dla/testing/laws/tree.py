"""The tree of labels: pieces add up to their part, and names are true."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.decomposers import LensDecomposer
from dla.decomposers.plans import GROUP, RowKind
from dla.directions import Logit
from dla.labels import Label
from dla.testing.laws.case import Case, Problem
from dla.testing.laws.compare import deviation, largest_size
from dla.testing.laws.reference_rows import ReferenceRows, independent_rows, known_parents, reference_rows
from dla.testing.laws.rows import key_of, rows_of

_FITTED = 1e-5
"""The rounding unit of rows that are computed with norms fitted to what they did."""

_Row = Float[Tensor, "batch pos"]


def find_in_pieces(case: Case) -> Problem | None:
    """The rows that say that they are pieces of a part add up to it."""
    ids = case.ids(4)
    result, known = case.attribute(Logit(ids)), reference_rows(case, ids)
    if any(label.kind == GROUP for label in result.parts):  # some pieces may be in a group: the others are not all
        return None
    pieces: dict[Label, list[int]] = {}
    for i, label in enumerate(result.parts):
        for part in known_parents(label, known):
            pieces.setdefault(part, []).append(i)
    size = largest_size(result)
    for part, places in pieces.items():
        total, expected = result.values[places].sum(0), known[key_of(part)]
        missed = deviation(total, expected, size, case.eps)
        if missed is not None:
            names = ", ".join(str(result.parts[i]) for i in places[:4]) + (", ..." if len(places) > 4 else "")
            other = _name_of({key: row for key, row in known.items() if key.layer == part.layer}, expected - total)
            return Problem(
                f"The {len(places)} pieces of {str(part)!r} ({names}) should add up to it, "
                f"at {list(missed.where)}: {missed}.",
                f"The pieces miss {other}: the gap is its row."
                if other
                else "A bias is the piece most often forgotten.",
            )
    return None


def find_in_names(case: Case) -> Problem | None:
    """A row with a known name is what that part contributes."""
    ids = case.ids(6)
    result, known = case.attribute(Logit(ids)), _known(case, ids)
    # A row of a lens is on the scale of its own place; what is computed from a cache is on the final norm's.
    independent = independent_rows(case, ids) if case.row_kind is not RowKind.LENS else {}
    size = largest_size(result)
    embeds = sum(label.kind.endswith("embed") for label in result.parts)
    for label, row in zip(result.parts, result.values, strict=True):
        for expected, eps, source in (
            (known.get(key_of(label)), case.eps, "the library's own row of that name"),
            (independent.get(str(label)), max(_FITTED, case.eps), "what the model's own hooks and weights give"),
        ):
            missed = None if expected is None else deviation(row, expected, size, eps)
            if missed is None or (label.kind == "embed" and embeds == 1 and _is_start(case, known, row, size)):
                continue
            return Problem(
                f"Row {str(label)!r} should be {source}, at {list(missed.where)}: {missed}.", _cause(known, label, row)
            )
    return None


def _known(case: Case, ids: Int[Tensor, "batch pos"]) -> ReferenceRows:
    """What names mean: on the scale of their own place for a lens, else on the final norm's."""
    if case.row_kind is RowKind.LENS:
        return rows_of(case.by(LensDecomposer()).attribute(Logit(ids)))
    return reference_rows(case, ids)


def _is_start(case: Case, known: ReferenceRows, row: _Row, size: float) -> bool:
    """Whether the row is everything before the first block, which may be called `embed` where nothing else is."""
    start = [known[key] for key in known if key.kind.endswith("embed")]
    return deviation(row, torch.stack(start).sum(0), size, case.eps) is None


def _cause(known: ReferenceRows, label: Label, row: _Row) -> str:
    """What the row is, where it is not what its name says."""
    name = _name_of({key: other for key, other in known.items() if key != key_of(label)}, row)
    if name:
        return (
            f"It is the row of {name}: labels in another order, a layer off by one, or heads that share a key and "
            "value expanded in the wrong order."
        )
    own = known.get(key_of(label))
    factor = 0.0 if own is None else float((row * own).sum() / own.pow(2).sum().clamp(min=1e-30))
    if own is not None and own.numel() > 1 and bool((row - factor * own).abs().max() <= 1e-3 * row.abs().max()):
        return f"It is that row times {factor:.4g}: a multiplier, or a piece that is called as the whole."
    return (
        "A name means what the library's decomposers mean by it. A row that is something else needs a kind of its "
        "own: dla.Label('my kind', ...)."
    )


def _name_of(known: ReferenceRows, row: _Row) -> str:
    """The quoted name of the known part that a row is; empty if it is none."""
    size = float(row.abs().max())
    for key, other in known.items():
        if size > 0 and bool((row - other).abs().max() <= 1e-3 * size):
            return repr(str(key))
    return ""
