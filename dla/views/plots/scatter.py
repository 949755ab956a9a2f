"""Direct effects against measured ones, a point a row."""

from typing import TYPE_CHECKING, Any

import numpy as np

from dla.views.grid import signed
from dla.views.palette import NEUTRAL
from dla.views.plots.base import figure, named_points, plotly, signs
from dla.views.text import as_label

if TYPE_CHECKING:
    import pandas

_COLUMNS = ("value", "share", "direct_effect", "measured_effect")
_NAMED = 12  # points at most, those farthest from the line, and from zero


def effects_scatter(title: str, frame: "pandas.DataFrame") -> Any:
    """What a row says, against what was found otherwise; points on the dotted line agree.

    Args:
        title: The title.
        frame: A row for each part: its label `part`, and two of `value`, `share`, `direct_effect` and
            `measured_effect`, of which the last two that are there are drawn.

    Raises:
        ValueError: If there are fewer than two of them.
    """
    there = [name for name in _COLUMNS if name in frame]
    if len(there) < 2:
        raise ValueError(f"A scatter needs two of {', '.join(_COLUMNS)}; the frame has {there}.")
    across, up = there[-2:]
    known = frame.dropna(subset=[across, up]).groupby("part", sort=False)[[across, up]].mean()
    x, y = known[across].to_numpy(), known[up].to_numpy()
    low, high = min([*x, *y, 0.0]), max([*x, *y, 0.0])
    names = known.index.tolist()
    orders = (np.argsort(-np.abs(each), kind="stable")[:_NAMED].tolist() for each in (y - x, y))
    named = named_points([i for order in orders for i in order], names, x, y)
    points = plotly().Scatter(
        x=x.tolist(),
        y=y.tolist(),
        mode="markers+text",
        text=[as_label(name) if i in named else "" for i, name in enumerate(names)],
        textposition="top center",
        cliponaxis=False,
        marker={"color": signs(y.tolist()), "size": 7, "opacity": 0.8},
        hovertext=[as_label(f"{n}: {signed(a)}, {signed(b)}") for n, a, b in zip(names, x, y, strict=True)],
        hoverinfo="text",
    )
    line = {"type": "line", "x0": low, "x1": high, "y0": low, "y1": high, "line": {"color": NEUTRAL, "dash": "dot"}}
    axes = {
        "xaxis": {"title": {"text": f"{across.replace('_', ' ')}, logits"}},
        "yaxis": {"title": {"text": f"{up.replace('_', ' ')}, logits"}},
    }
    return figure(title, [points], {**axes, "shapes": [line], "showlegend": False, "height": 420})
