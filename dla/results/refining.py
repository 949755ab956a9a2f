"""One row of an attribution in pieces."""

from dataclasses import replace
from typing import Any

import torch

from dla.decomposers.base import Decomposer
from dla.decomposers.rows import Rows, rounding_last, unique_labels
from dla.errors import ReconstructionError
from dla.results.attributed import AttributedRows
from dla.results.rerun import Rerun
from dla.tolerances import TOLERANCE


def refined(result: AttributedRows, i: int, by: Decomposer, rerun: Rerun, whose: str) -> dict[str, Any]:
    """The fields that an attribution has with one row in pieces.

    Args:
        result: The attribution.
        i: The row.
        by: What splits it.
        rerun: Where the attribution comes from.
        whose: Who asks, for messages.

    Raises:
        ReconstructionError: If the pieces do not add up to the row.
        RunChangedError: If the model does not run any more as it did.
        ValueError: If the decomposer has no pieces of it.
    """
    parts, values = result.parts, result.values
    finer, run = rerun.finer(parts[i], by)
    pieces = run.values.reshape(len(run.labels), *result.total.shape).masked_fill(result.total.isnan(), torch.nan)
    added = pieces.sum(0, dtype=torch.float64)
    allowed = TOLERANCE * rerun.eps * (pieces.abs().sum(0) + values[i].abs())
    gap = (added - values[i]).abs()
    if bool((gap > allowed.to(gap) + result.tolerance.to(gap)).any()):
        raise ReconstructionError(
            f"The {len(run.labels)} pieces that {type(by).__name__} has of {str(parts[i])!r} miss it by up to "
            f"{float(gap.nan_to_num().max()):.1e}. {rerun.likely_cause()}"
        )
    rows = rounding_last(
        Rows([*parts[:i], *run.labels, *parts[i + 1 :]], torch.cat([values[:i], pieces, values[i + 1 :]]))
    )
    return {
        "parts": unique_labels(rows.labels, whose),
        "values": rows.values,
        "total": (result.total.double() + (added - values[i])).to(result.total),
        "tolerance": result.tolerance + allowed.to(result.tolerance),
        "provenance": replace(result.provenance, decomposer=finer.query.plan.name),
        "rerun": finer,
    }
