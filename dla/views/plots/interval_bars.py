"""Means with their intervals, as bars."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from dla.views.plots.base import figure, plotly
from dla.views.text import as_label


def interval_bars(
    title: str,
    labels: Sequence[str],
    groups: Sequence[tuple[str, Float64[np.ndarray, " part"], Float64[np.ndarray, "end=2 part"]]],
) -> Any:
    """One bar per part and group, with its interval.

    Args:
        title: The title.
        labels: The parts.
        groups: For each group its name, the means, and the lower and upper ends of their intervals.

    Raises:
        MissingPackageError: If plotly is not installed.
    """
    traces = [
        plotly().Bar(
            name=as_label(name),
            x=list(map(as_label, labels)),
            y=means.tolist(),
            error_y={"array": (ends[1] - means).tolist(), "arrayminus": (means - ends[0]).tolist(), "thickness": 1},
        )
        for name, means, ends in groups
    ]
    # A category each: plotly makes numbers or dates of labels that look like them.
    axes = {"xaxis": {"type": "category"}, "yaxis": {"title": {"text": "logits"}}}
    return figure(title, traces, {**axes, "showlegend": len(groups) > 1})
