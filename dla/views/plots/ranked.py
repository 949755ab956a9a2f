"""The strongest rows as bars, most positive first: neurons, features, heads, whatever there are many of."""

from typing import Any

import numpy as np

from dla.views.grid import signed
from dla.views.plots.base import bars_axes, figure, plotly, signs
from dla.views.plots.rows import PlotRows
from dla.views.text import as_label


def ranked_bars(rows: PlotRows, shown: int) -> Any:
    """At most `shown` rows at each end; below the title the sum of those between, and how many rows are NaN."""
    means = rows.means
    unknown = int(np.isnan(means).sum())
    order = np.argsort(-means, kind="stable")[: len(means) - unknown].tolist()  # NaN is sorted to the end
    between = order[shown : len(order) - shown] if len(order) > 2 * shown else []
    kept = [*order[:shown], *order[-shown:]] if between else order
    sizes = [float(means[i]) for i in kept]
    names = [str(rows.parts[i]) for i in kept]
    trace = plotly().Bar(
        orientation="h",
        y=list(range(len(kept))),
        x=sizes,
        marker={"color": signs(sizes)},
        text=[signed(size) for size in sizes],
        textposition="outside",
        cliponaxis=False,
        hovertext=[as_label(f"{name} {signed(size)}") for name, size in zip(names, sizes, strict=True)],
        hoverinfo="text",
    )
    between_sum = float(means[between].sum())
    notes = [f"{len(between)} rows between, which sum to {signed(between_sum)}, are not drawn"] if between else []
    notes += [f"rows that are NaN, and not drawn: {unknown}"] if unknown else []
    layout = {**bars_axes(names, sizes), "height": 30 + 22 * len(kept)}
    return figure(rows.mean_title, [trace], layout, "; ".join(notes))
