"""The tree of labels: pieces add up to their part, and names are true."""

import torch
from torch import Tensor

from dla.decomposers import LensDecomposer
from dla.decomposers.plans import GROUP, RowKind
from dla.directions import Logit
from dla.labels import Label
from dla.testing.laws.case import Case, Check, Problem
from dla.testing.laws.compare import largest_of, miss
from dla.testing.laws.known import Known, above, by_hand, independent_rows, known_rows
from dla.testing.laws.rows import key_of, rows_of

_FITTED = 1e-5
"""The rounding unit of rows that are found from what the norms did."""


def find_in_pieces(case: Case) -> Problem | None:
    """The rows that say that they are pieces of a part add up to it."""
    ids = case.ids(4)
    result, known = case.attribute(Logit(ids)), known_rows(case, ids)
    if any(label.kind == GROUP for label in result.parts):  # some pieces may be in a group: the others are not all
        return None
    pieces: dict[Label, list[int]] = {}
    for i, label in enumerate(result.parts):
        for part in above(label, known):
            pieces.setdefault(part, []).append(i)
    size = largest_of(result)
    for part, places in pieces.items():
        missed = miss(result.values[places].sum(0), known[key_of(part)], size, case.eps)
        if missed is not None:
            names = ", ".join(str(result.parts[i]) for i in places[:4]) + (", ..." if len(places) > 4 else "")
            return Problem(
                f"The {len(places)} pieces of {str(part)!r} ({names}) should add up to it, "
                f"at {list(missed.where)}: {missed}.",
                _cause_of_pieces(known, part, known[key_of(part)] - result.values[places].sum(0)),
            )
    return None


def _cause_of_pieces(known: Known, part: Label, gap: Tensor) -> str:
    """Which other row of the same layer the gap is."""
    name = _who(known, gap, lambda key: key[1] == part.layer)
    return f"The pieces miss {name}: the gap is its row." if name else "A bias is the piece most often forgotten."


def find_in_names(case: Case) -> Problem | None:
    """A row with a known name is what that part contributes."""
    ids = case.ids(6)
    result, known = case.attribute(Logit(ids)), _known(case, ids)
    independent = independent_rows(case, ids) if by_hand(case.law) else {}
    size = largest_of(result)
    embeds = sum(label.kind.endswith("embed") for label in result.parts)
    for label, row in zip(result.parts, result.values, strict=True):
        for expected, eps, source in (
            (known.get(key_of(label)), case.eps, "the library's own row of that name"),
            (independent.get(str(label)), max(_FITTED, case.eps), "what the model's own hooks and weights give"),
        ):
            missed = None if expected is None else miss(row, expected, size, eps)
            if missed is None or (label.kind == "embed" and embeds == 1 and _is_start(case, known, row, size)):
                continue
            return Problem(
                f"Row {str(label)!r} should be {source}, at {list(missed.where)}: {missed}.",
                _who_is_it(known, label, row),
            )
    return None


def _known(case: Case, ids: Tensor) -> Known:
    """What names mean: on the scale of their own place for a lens, else on the final norm's."""
    if case.law is RowKind.LENS:
        return rows_of(case.of(LensDecomposer(), Logit(ids)))
    return known_rows(case, ids)


def _is_start(case: Case, known: Known, row: Tensor, size: float) -> bool:
    """Whether the row is everything before the first block, which may be called `embed` where nothing else is."""
    start = [known[key] for key in known if str(key[0]).endswith("embed")]
    return miss(row, torch.stack(start).sum(0), size, case.eps) is None


def _who_is_it(known: Known, label: Label, row: Tensor) -> str:
    name = _who(known, row, lambda key: key != key_of(label))
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


def _who(known: Known, row: Tensor, among: object) -> str:
    """The known part that a row is; empty if it is none."""
    assert callable(among)
    size = float(row.abs().max())
    for key, other in known.items():
        if size > 0 and among(key) and bool((row - other).abs().max() <= 1e-3 * size):
            kind, layer, index, source, text = key
            return repr(
                str(Label(str(kind), _int(layer), _int(index), None if text is None else str(text), _int(source)))
            )
    return ""


def _int(value: object) -> int | None:
    return value if isinstance(value, int) else None


REFINEMENT = Check("refinement", "The pieces of a part add up to it.", find_in_pieces, (RowKind.ADDITIVE,))
NAMES = Check("names", "A row with a known name is what the part of that name contributes.", find_in_names)
