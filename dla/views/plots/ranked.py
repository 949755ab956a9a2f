"""The strongest rows as bars, most positive first: neurons, features, heads, whatever there are many of."""

from typing import Any

import numpy as np

from dla.views.grid import signed
from dla.views.plots.base import figure, plotly, signs
from dla.views.plots.rows import PlotRows
from dla.views.text import as_label


def ranked_bars(rows: PlotRows, shown: int) -> Any:
    """At most `shown` rows at each end; the sum of those between is told below the title."""
    means = np.nan_to_num(rows.means)
    order = np.argsort(-means, kind="stable").tolist()
    between = order[shown : len(order) - shown] if len(order) > 2 * shown else []
    kept = [i for i in order if i not in set(between)]
    sizes = [float(means[i]) for i in kept]
    names = [as_label(str(rows.parts[i])) for i in kept]
    trace = plotly().Bar(
        orientation="h",
        y=list(range(len(kept))),
        x=sizes,
        marker={"color": signs(sizes)},
        text=[signed(size) for size in sizes],
        hovertext=[f"{name} {signed(size)}" for name, size in zip(names, sizes, strict=True)],
        hoverinfo="text",
    )
    between_sum = float(means[between].sum())
    note = f"{len(between)} rows between, which sum to {signed(between_sum)}, are not drawn" if between else ""
    axis = {"tickmode": "array", "tickvals": list(range(len(kept))), "ticktext": names, "autorange": "reversed"}
    axes = {"yaxis": axis, "xaxis": {"title": {"text": "logits"}}}
    return figure(rows.title, [trace], {**axes, "height": 160 + 22 * len(kept)}, note)
