"""The tree of labels: pieces add up to their part, and names are true."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.decomposers import LensDecomposer
from dla.decomposers.rows import GROUP, RowKind
from dla.directions import Logit
from dla.labels import Label
from dla.testing.laws.case import Case, Problem
from dla.testing.laws.compare import Deviation, deviation, largest_size
from dla.testing.laws.loose import loose_rows, may_hold
from dla.testing.laws.reference_rows import ReferenceRows, known_parents, reference_rows
from dla.testing.laws.rows import key_of, rows_of
from dla.testing.laws.wrong_rows import combination_of, is_small, words_of_wrong_rows, wrong_rows
from dla.text import some_of

_Row = Float[Tensor, "batch pos"]


def find_in_pieces(case: Case) -> Problem | None:
    """The rows that say that they are pieces of a part add up to it, where all of it has rows of its own."""
    ids = case.ids(4)
    result, known = case.attribute(Logit(ids)), reference_rows(case, ids)
    if any(label.kind == GROUP for label in result.parts):  # some pieces may be in a group: the others are not all
        return None
    pieces: dict[Label, list[int]] = {}
    for i, label in enumerate(result.parts):
        for part in known_parents(label, known):
            pieces.setdefault(part, []).append(i)
    size, loose = largest_size(result), loose_rows(case, result.parts, known)
    alone = {str(label): result.values[i] for i, label in enumerate(result.parts) if i in loose}
    for part, places in pieces.items():
        total, expected = result.values[places].sum(0), known[key_of(part)]
        missed = deviation(total, expected, size, case.eps)
        held = any(may_hold(case, reads, part) for reads in loose.values())
        nameless = _name_of_text(alone, expected - total)
        if missed is not None and nameless:
            cause = f"Row {nameless} is what they miss. Give it parent=, as they have."
            return Problem(_miss(part, [result.parts[i] for i in places], missed), cause)
        if missed is not None and not held:
            rows = {key_of(result.parts[i]): result.values[i] for i in places}
            return Problem(
                _miss(part, [result.parts[i] for i in places], missed),
                _cause_of_pieces(case, known, rows, part, expected - total),
            )
    return None


def _miss(part: Label, pieces: Sequence[Label], missed: Deviation) -> str:
    return (
        f"The {len(pieces)} pieces of {str(part)!r} ({some_of(pieces)}) should add up to it, at {list(missed.where)}: "
        f"{missed}."
    )


def _cause_of_pieces(case: Case, known: ReferenceRows, rows: Mapping[Label, _Row], part: Label, gap: _Row) -> str:
    """What the pieces lack, where something fits; else what was measured."""
    name = _name_of({key: row for key, row in known.items() if key.layer == part.layer}, gap)
    if name:
        return f"The pieces miss {name}: the gap is its row."
    wrong = wrong_rows(known, rows)
    if wrong.explain(gap.double()):
        return words_of_wrong_rows(case, wrong, Logit(case.ids(4)))
    share = float(gap.abs().max() / known[key_of(part)].abs().max().clamp(min=1e-30))
    return (
        f"Nothing that was tried fits the gap, which is up to {share:.0%} of {str(part)!r}. Either a piece is wrong, "
        "or the rest of it is in a row that does not name it: give that row parent=, or none to these."
    )


def find_in_names(case: Case) -> Problem | None:
    """A row with a known name is what that part contributes."""
    ids = case.ids(6)
    result, known = case.attribute(Logit(ids)), _known(case, ids)
    size = largest_size(result)
    embeds = sum(label.kind.endswith("embed") for label in result.parts)
    for label, row in zip(result.parts, result.values, strict=True):
        expected = known.get(key_of(label))
        missed = None if expected is None else deviation(row, expected, size, case.eps)
        if missed is None or (label.kind == "embed" and embeds == 1 and _is_start(case, known, row, size)):
            continue
        return Problem(
            f"Row {str(label)!r} should be the library's own row of that name, at {list(missed.where)}: {missed}.",
            _cause(known, label, row),
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
        return f"It is the row of {name}: labels in another order, or counted otherwise."
    alike = {
        f"the row of {str(key)!r}": other
        for key, other in known.items()
        if key.kind == label.kind and key.layer == label.layer
    }
    combined = combination_of(row, alike)
    if combined:
        return f"It is {combined}."
    return (
        "A name means what the library's decomposers mean by it. A row that is something else needs a kind of its "
        "own: dla.Label('my kind', ...)."
    )


def _name_of(known: ReferenceRows, row: _Row) -> str:
    """The quoted name of the known part that a row is; empty if it is none."""
    return _name_of_text({str(key): other for key, other in known.items()}, row)


def _name_of_text(known: Mapping[str, _Row], row: _Row) -> str:
    """The quoted name of the row that a row is; empty if it is none."""
    size = float(row.abs().max())
    return next(
        (repr(name) for name, other in known.items() if size > 0 and is_small(row - other, row, 1e-3)),
        "",
    )
