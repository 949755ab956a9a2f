"""Two results side by side, and their difference."""

from typing import Any

import numpy as np

from dla.views.grid import signed
from dla.views.plots.base import figure, plotly, signs
from dla.views.plots.rows import PlotRows
from dla.views.text import as_label

_GREYS = {"first": "#b0b0b0", "second": "#5c5c5c"}  # the difference has the colours of its sign


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
    order = np.argsort(-np.abs(np.nan_to_num(own - other)), kind="stable")[:shown].tolist()
    names = [as_label(first.labels[both[i][0]]) for i in order]
    series = (("first", own), ("second", other), ("first - second", own - other))
    traces = [
        plotly().Bar(
            name=name,
            orientation="h",
            y=list(range(len(order))),
            x=[float(values[i]) for i in order],
            hovertext=[f"{label}, {name}: {signed(float(values[i]))}" for label, i in zip(names, order, strict=True)],
            hoverinfo="text",
            marker={"color": _GREYS.get(name) or signs([float(values[i]) for i in order])},
        )
        for name, values in series
    ]
    alone = len(first.parts) + len(second.parts) - 2 * len(both)
    note = f"first: {first.mean_title}; second: {second.mean_title}" + (
        f"; {alone} rows are in one only" if alone else ""
    )
    axis = {"tickmode": "array", "tickvals": list(range(len(order))), "ticktext": names, "autorange": "reversed"}
    axes = {"yaxis": axis, "xaxis": {"title": {"text": "logits"}}}
    layout = {**axes, "height": 190 + 44 * len(order)}
    return figure("Two results, the rows that differ most", traces, layout, note)
