"""Means with their intervals, as bars."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from dla.views.plots.base import figure, plotly, signs
from dla.views.text import as_label

_GROUPS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#8a8a8a", "#000000")
"""The colours of groups, none of which is that of a sign."""


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
            marker={"color": signs(means.tolist()) if len(groups) == 1 else _GROUPS[i % len(_GROUPS)]},
            error_y={"array": (ends[1] - means).tolist(), "arrayminus": (means - ends[0]).tolist(), "thickness": 1},
        )
        for i, (name, means, ends) in enumerate(groups)
    ]
    # A category each: plotly makes numbers or dates of labels that look like them.
    axes = {"xaxis": {"type": "category"}, "yaxis": {"title": {"text": "logits"}}}
    return figure(title, traces, {**axes, "showlegend": len(groups) > 1})
