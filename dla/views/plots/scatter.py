"""Direct effects against measured ones, a point a row."""

from typing import TYPE_CHECKING, Any

from dla.views.grid import signed
from dla.views.palette import NEUTRAL
from dla.views.plots.base import figure, plotly, signs
from dla.views.text import as_label

if TYPE_CHECKING:
    import pandas

_NAMED = 12  # points, those farthest from the line


def effects_scatter(title: str, frame: "pandas.DataFrame") -> Any:
    """What a row says, against what was found without it; points on the dotted line agree.

    Args:
        title: The title.
        frame: A row for each part: its label `part`, and two of `value`, `direct_effect` and `measured_effect`, of
            which the last two that are there are drawn.

    Raises:
        ValueError: If there are fewer than two of them.
    """
    there = [name for name in ("value", "direct_effect", "measured_effect") if name in frame]
    if len(there) < 2:
        raise ValueError(f"A scatter needs two of value, direct_effect and measured_effect; the frame has {there}.")
    across, up = there[-2:]
    known = frame.dropna(subset=[across, up]).groupby("part", sort=False)[[across, up]].mean()
    far = set((known[up] - known[across]).abs().nlargest(_NAMED).index)
    x, y = known[across].tolist(), known[up].tolist()
    low, high = min([*x, *y, 0.0]), max([*x, *y, 0.0])
    names = known.index.tolist()
    points = plotly().Scatter(
        x=x,
        y=y,
        mode="markers+text",
        text=[as_label(name) if name in far else "" for name in names],
        textposition="top center",
        marker={"color": signs(y), "size": 7, "opacity": 0.7},
        hovertext=[f"{as_label(n)}: {signed(a)}, {signed(b)}" for n, a, b in zip(names, x, y, strict=True)],
        hoverinfo="text",
    )
    line = {"type": "line", "x0": low, "x1": high, "y0": low, "y1": high, "line": {"color": NEUTRAL, "dash": "dot"}}
    axes = {
        "xaxis": {"title": {"text": f"{across.replace('_', ' ')}, logits"}},
        "yaxis": {"title": {"text": f"{up.replace('_', ' ')}, logits"}},
    }
    return figure(title, [points], {**axes, "shapes": [line], "showlegend": False})
