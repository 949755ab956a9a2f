"""The stream over depth: what it says of the logit after each layer, and what a lens reads there."""

from typing import Any

import numpy as np

from dla.text import some_of
from dla.views.grid import signed
from dla.views.palette import NEUTRAL
from dla.views.plots.base import figure, names_axis, plotly
from dla.views.plots.rows import PlotRows, mean_over, not_selected


def depth_lines(rows: PlotRows, lens: PlotRows | None) -> Any:
    """The rows as a line: cumulative ones as they are; additive ones added up in their order.

    Args:
        rows: The rows.
        lens: The rows of a lens for the same question, or None.

    Raises:
        ValueError: If rows that add up are a selection, or a lens has rows at other places of the stream.
    """
    if unseen := not_selected(rows):
        raise ValueError(
            f"The stream over depth needs all rows, and those that were not selected sum to {signed(unseen)}. Plot the "
            "result itself, or see plot.waterfall()."
        )
    if lens is not None and not set(lens.labels) <= set(rows.labels):
        raise ValueError(
            f"The lens reads the stream at {some_of(lens.labels)}, which are not among the rows. Draw it beside a "
            "result of LayerDecomposer()."
        )
    names = rows.labels
    heights = rows.means + float(mean_over(rows.constant[0], 0))
    if rows.additive:
        heights = np.nancumsum(rows.means) + float(mean_over(rows.constant[0], 0))
    lines = [_line("the stream, on the final scale", names, heights)]
    if lens is not None:
        heights = lens.means + float(mean_over(lens.constant[0], 0))
        lines.append(_line("logit lens", lens.labels, heights))
    logit = float(mean_over(rows.logit[0], 0))
    rule = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": logit, "y1": logit}
    shapes = [{**rule, "line": {"color": NEUTRAL, "dash": "dot"}}]
    mark = {"xref": "paper", "x": 1, "y": logit, "text": "logit", "showarrow": False, "yanchor": "bottom"}
    axis = {
        **names_axis(names),
        "range": [-0.5, len(names) - 0.5],
        "categoryorder": "array",
        "categoryarray": names,
        "type": "category",
    }
    axes = {"xaxis": axis, "yaxis": {"title": {"text": "logits"}}}
    legend = {} if lens is None else {"legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}}
    shown = {**legend, "showlegend": lens is not None, "height": 320}
    return figure(rows.mean_title, lines, {**shown, **axes, "shapes": shapes, "annotations": [mark]})


def _line(name: str, labels: list[str], heights: Any) -> Any:
    style = {"mode": "lines+markers", "marker": {"size": 5}}  # the template's first colours, which no sign has
    return plotly().Scatter(name=name, x=labels, y=[float(y) for y in heights], **style)
