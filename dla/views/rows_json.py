"""An attribution, or a trace, as a document: the strongest rows, one row for the rest, and the proof."""

from typing import Any

import numpy as np
from jaxtyping import Float64

from dla.views.document import asked, document, kept_first, named, strict_json
from dla.views.plots.rows import PlotRows, RowsOfResult, mean_over


def rows_as_json(result: RowsOfResult, top: int | None, **told: Any) -> str:
    """The document as JSON.

    Args:
        result: The result; over several positions the numbers are means, or sums over the tokens of an answer.
        top: How many rows are written out; None for all.
        told: What is said of the result besides: caveats, answers.
    """
    return strict_json(rows_document(result, top, **told))


def rows_document(result: RowsOfResult, top: int | None, **told: Any) -> dict[str, Any]:
    """The same as plain values."""
    rows, provenance = PlotRows.of(result), result.provenance
    return document(
        "trace" if provenance.traced else "attribution",
        **asked(provenance),
        positions=[
            {"prompt": prompt, "position": position, "token": rows.tokens[prompt][position] if rows.tokens else None}
            for prompt, position in rows.places
        ],
        over_positions="sum" if provenance.summed else "mean",
        directions=[_direction(result, rows, i, top) for i in range(len(rows.directions))],
        **told,
    )


def _direction(result: RowsOfResult, rows: PlotRows, i: int, top: int | None) -> dict[str, Any]:
    times = _tokens_of_an_answer(result, rows)
    means = mean_over(rows.values[i], 0) * times
    kept, left = kept_first(means.tolist(), top, rows.additive)
    numbers = {
        "logit": rows.logit[i],
        "constant": rows.constant[i],
        "total": rows.total[i],
        "output_logit": _of_places(result, rows, i, result.output_logit),
    }
    gap = rows.logit[i] - rows.total[i] - rows.constant[i]
    tolerance = _of_places(result, rows, i, result.tolerance)
    rest = float(np.nansum(means[left])) if rows.additive else None
    return {
        "direction": rows.directions[i],
        **{name: float(mean_over(each, 0)) * times for name, each in numbers.items()},
        "rows": [{**named(rows.parts[j]), "value": float(means[j])} for j in kept],
        "rest": {"rows": len(left), "sum": rest},
        "not_selected": _not_selected(rows, i, float(np.nansum(means)), times),
        "gap": float(np.abs(gap).max(initial=0.0)),
        "tolerance": float(np.nan_to_num(tolerance).max(initial=0.0)),
    }


def _of_places(result: RowsOfResult, rows: PlotRows, i: int, tensor: Any) -> Float64[np.ndarray, " place"]:
    there = (result.positions.reshape(-1).cpu() >= 0).numpy()
    values: Float64[np.ndarray, "direction place"] = tensor.detach().cpu().double().numpy()
    at: Float64[np.ndarray, " place"] = values.reshape(len(rows.directions), -1)[i][there]
    return at


def _not_selected(rows: PlotRows, i: int, seen: float, times: float) -> float | None:
    """What the total has and no row: a selection left it out."""
    return float(mean_over(rows.total[i], 0)) * times - seen if rows.additive else None


def _tokens_of_an_answer(result: RowsOfResult, rows: PlotRows) -> float:
    """What makes a mean over places the sum over the tokens of an answer, averaged over prompts."""
    if not result.provenance.summed or "position" not in result.provenance.dims:
        return 1.0
    return len(rows.places) / max(len({prompt for prompt, _ in rows.places}), 1)
