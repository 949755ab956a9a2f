"""Rows by position, or by direction, as a map."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from dla.views.grid import signed
from dla.views.plots.base import cells, figure, names_axis
from dla.views.plots.rows import PlotRows, mean_over


def place_map(rows: PlotRows, shown: int) -> Any:
    """The strongest rows by position, or, where several directions were asked for, by direction."""
    by_direction = len(rows.directions) > 1
    kept = rows.strongest(shown)
    values = (_by_direction(rows) if by_direction else rows.values[0]).T[kept]
    columns = list(rows.directions) if by_direction else rows.place_names()
    labels = [str(rows.parts[i]) for i in kept]
    return part_map(rows.mean_title if by_direction else rows.title, values, labels, columns, len(rows.parts))


def part_map(
    title: str,
    values: Float64[np.ndarray, "row column"],
    labels: Sequence[str],
    columns: Sequence[str],
    there: int,
    unit: str = "logits",
) -> Any:
    """Rows by columns, white at zero.

    Args:
        title: The title.
        values: The numbers.
        labels: The rows.
        columns: The columns.
        there: How many rows the result has.
        unit: What the numbers are.
    """
    texts = [
        [f"{label}, {column}: {signed(float(value))}" for column, value in zip(columns, row, strict=True)]
        for label, row in zip(labels, values, strict=True)
    ]
    left = there - len(labels)
    note = f"{left} weaker rows are not drawn" if left else ""
    down = {**names_axis(labels), "autorange": "reversed"}
    layout = {"xaxis": names_axis(columns), "yaxis": down, "height": 40 + 22 * len(labels)}
    return figure(title, [cells(values, texts, unit=unit)], layout, note)


def _by_direction(rows: PlotRows) -> Float64[np.ndarray, "direction part"]:
    return mean_over(rows.values, 1)
