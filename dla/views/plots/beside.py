"""Two results side by side, and their difference."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from dla.views.grid import signed
from dla.views.plots.base import bars_axes, figure, plotly, signs
from dla.views.plots.rows import PlotRows
from dla.views.text import as_label

BY_SIGN = "(in the colours of its sign)"


def side_by_side(first: PlotRows, second: PlotRows, shown: int) -> Any:
    """For each row that both have its value in either, and the difference, first minus second.

    Args:
        first: A result.
        second: Another.
        shown: How many rows, those that differ most.

    Raises:
        ValueError: If no row is in both.
    """
    places = {label: i for i, label in enumerate(second.labels)}
    both = [(i, places[label]) for i, label in enumerate(first.labels) if label in places]
    if not both:
        raise ValueError("The results have no row in common. Attribute both with one decomposer.")
    own, other = (first.means[[i for i, _ in both]], second.means[[j for _, j in both]])
    series = (("first", own), ("second", other), (f"first - second {BY_SIGN}", own - other))
    alone = len(first.parts) + len(second.parts) - 2 * len(both)
    note = f"first: {first.mean_title}; second: {second.mean_title}"
    note += f"; {alone} rows are in one only" if alone else ""
    return difference_bars(
        "Two results, the rows that differ most", [first.labels[i] for i, _ in both], series, shown, note
    )


def difference_bars(
    title: str, labels: Sequence[str], series: Sequence[tuple[str, Float64[np.ndarray, " row"]]], shown: int, note: str
) -> Any:
    """Bars next to each other for each row, of which the last are differences, in the colours of their signs.

    Args:
        title: The title.
        labels: The rows.
        series: The name and the numbers of each bar.
        shown: How many rows, those that differ most.
        note: A line below the title.
    """
    order = np.argsort(-np.abs(np.nan_to_num(series[-1][1])), kind="stable")[:shown].tolist()
    names = [labels[i] for i in order]
    drawn = [(name, [float(values[i]) for i in order]) for name, values in series]
    traces = [
        plotly().Bar(
            name=as_label(name),
            orientation="h",
            y=list(range(len(order))),
            x=sizes,
            hovertext=[as_label(f"{label}, {name}: {signed(x)}") for label, x in zip(names, sizes, strict=True)],
            hoverinfo="text",
            marker={"color": signs(sizes)} if name == drawn[-1][0] else {},
        )
        for name, sizes in drawn
    ]
    axes = bars_axes(names, [size for _, sizes in drawn for size in sizes], 0.03)
    legend = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
    return figure(title, traces, {**axes, "legend": legend, "height": 40 + 44 * len(order)}, note)
