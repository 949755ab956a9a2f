"""Rows that are the stream up to a place: each is linear in the stream there, not only the last."""

import torch

from dla.directions import Logit
from dla.testing.altered_adapter import AlteredAdapter
from dla.testing.laws.case import Case, Problem
from dla.testing.laws.compare import deviation, largest_size
from dla.testing.laws.conduct import in_double
from dla.testing.laws.reconstruction import hooks_read_by, streams, written

_STEPS = (0.0, 0.5, 1.0)


def find_in_trajectory(case: Case) -> Problem | None:
    """What is read, changed twice as much, moves each row twice as much."""
    direction, read = Logit(case.ids(1)), hooks_read_by(case)
    for name in [name for name in (*written(case), *streams(case)) if name in read]:
        adapters: list[AlteredAdapter] = [in_double(case, name, step) for step in _STEPS]
        none, one, two = (case.attribute(direction, model=adapter) for adapter in adapters)
        size = largest_size(none, one, two)
        missed = deviation(
            two.values - one.values, one.values - none.values, size, max(torch.finfo(torch.float64).eps, 1e-12)
        )
        if missed is not None:
            row = str(one.parts[missed.where[0]])
            return Problem(
                f"{name!r}, changed twice as much, should move row {row!r} twice as much, at {list(missed.where[1:])}: "
                f"{missed}.",
                f"Row {row!r} is no linear function of what it reads: it is cut off, normalised or chosen by its size. "
                "A row on a scale of its own is one of a lens: row_kind = RowKind.LENS.",
            )
    return None
