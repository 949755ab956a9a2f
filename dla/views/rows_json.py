"""A result as JSON that is short enough to read: the strongest rows, and what is left out."""

import json
import math
from typing import Any

import numpy as np

from dla.text import as_text
from dla.views.plots.rows import PlotRows, RowsOfResult, mean_over

ROWS_FORMAT = "dla.attribution.rows/1"


def rows_as_json(result: RowsOfResult, top: int | None) -> str:
    """The strongest rows of a result, their sums, and what was asked; NaN is null.

    Args:
        result: The result; over several positions, the numbers are means.
        top: How many rows; None for all.
    """
    rows, provenance = PlotRows.of(result), result.provenance
    document = {
        "format": ROWS_FORMAT,
        "model": provenance.model,
        "dtype": provenance.dtype,
        "decomposer": provenance.decomposer,
        "row_kind": provenance.row_kind,
        "prompts": [list(tokens) for tokens in provenance.tokens],
        "positions": [{"prompt": prompt, "position": position} for prompt, position in rows.places],
        "directions": [_direction(result, rows, i, top) for i in range(len(rows.directions))],
        "versions": dict(provenance.versions),
    }
    return json.dumps(_plain(document), ensure_ascii=False, allow_nan=False, indent=2)


def _direction(result: RowsOfResult, rows: PlotRows, i: int, top: int | None) -> dict[str, Any]:
    means = mean_over(rows.values[i], 0)
    order = np.argsort(-np.abs(np.nan_to_num(means)), kind="stable") if rows.additive else np.arange(len(means))
    kept, left = order[:top].tolist(), order[len(order) if top is None else top :]
    gap = rows.logit[i] - rows.total[i] - rows.constant[i]
    tolerance = result.tolerance.detach().cpu().double().reshape(len(rows.directions), -1)[i]
    return {
        "direction": rows.directions[i],
        "logit": float(mean_over(rows.logit[i], 0)),
        "constant": float(mean_over(rows.constant[i], 0)),
        "total": float(mean_over(rows.total[i], 0)),
        "largest_gap": float(np.abs(gap).max(initial=0.0)),
        "tolerance": float(tolerance.nan_to_num().max()),
        "rows": [_row(rows, j, float(means[j])) for j in kept],
        "left_out": {"rows": len(left), "sum": float(np.nansum(means[left])) if rows.additive else None},
    }


def _row(rows: PlotRows, j: int, value: float) -> dict[str, Any]:
    part = rows.parts[j]
    return {"part": str(part), "kind": part.kind, "layer": part.layer, "head": part.head, "value": value}


def _plain(value: Any) -> Any:
    """What JSON can hold: no NaN, and no text that is not one."""
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return list(map(_plain, value))
    return None if isinstance(value, float) and not math.isfinite(value) else value
