"""From the constant to the logit, step by step."""

from typing import Any

import numpy as np

from dla.views.grid import signed
from dla.views.palette import NEGATIVE, NEUTRAL, POSITIVE
from dla.views.plots.base import bars_axes, figure, plotly
from dla.views.plots.rows import PlotRows, mean_over, not_selected
from dla.views.text import as_label

Steps = list[tuple[str, float]]
"""What each step is called, and how large it is."""


def waterfall(rows: PlotRows, shown: int) -> Any:
    """The constant, the strongest rows, all others as one step, and what they make: the logit.

    Args:
        rows: The rows, which add up.
        shown: How many rows have a step of their own.

    Raises:
        ValueError: If the rows do not add up.
    """
    steps = waterfall_steps(rows, shown)
    end = float(mean_over(rows.logit[0], 0))
    names = ["constant", *(name for name, _ in steps), "logit"]
    sizes = [float(mean_over(rows.constant[0], 0)), *(size for _, size in steps), end]
    trace = plotly().Waterfall(
        orientation="h",
        y=list(range(len(names))),
        x=sizes,
        measure=["absolute", *["relative"] * len(steps), "total"],
        text=[signed(size) for size in sizes],
        textposition="outside",
        cliponaxis=False,
        hovertext=[as_label(f"{name} {signed(size)}") for name, size in zip(names, sizes, strict=True)],
        hoverinfo="text",
        increasing={"marker": {"color": POSITIVE}},
        decreasing={"marker": {"color": NEGATIVE}},
        totals={"marker": {"color": NEUTRAL}},
        connector={"line": {"color": NEUTRAL, "width": 1}},
    )
    edges = [*np.nancumsum(sizes[:-1]).tolist(), end]
    layout = {**bars_axes(names, edges), "height": 30 + 26 * len(names), "showlegend": False}
    return figure(rows.mean_title, [trace], layout)


def waterfall_steps(rows: PlotRows, shown: int) -> Steps:
    """The strongest rows by their size, then the sum of all others, and of those that are not there.

    Raises:
        ValueError: If the rows do not add up.
    """
    if not rows.additive:
        raise ValueError("The rows do not add up, so there are no steps from the constant to the logit: plot.depth().")
    order = np.argsort(-np.abs(np.nan_to_num(rows.means)), kind="stable")
    steps = [(str(rows.parts[i]), float(rows.means[i])) for i in order[:shown].tolist()]
    rest = rows.means[order[shown:]]
    if len(rest):
        steps.append((f"{len(rest)} other rows", float(np.nansum(rest))))
    if unseen := not_selected(rows):
        steps.append(("rows not selected", unseen))
    return steps
