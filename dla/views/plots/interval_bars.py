"""Means with their intervals, as bars."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from dla.views.palette import GROUPS
from dla.views.plots.base import figure, plotly, signs
from dla.views.text import as_label

_PATTERNS = ("", "/", "x", ".", "-", "|", "\\\\")  # of groups, for who does not see colours


def interval_bars(
    title: str,
    labels: Sequence[str],
    groups: Sequence[tuple[str, Float64[np.ndarray, " part"], Float64[np.ndarray, "end=2 part"]]],
    shown: int,
) -> Any:
    """One bar per part and group, with its interval.

    Args:
        title: The title.
        labels: The parts.
        groups: For each group its name, the means, and the lower and upper ends of their intervals.
        shown: How many parts, those with the largest mean of either sign in any group; in their own order.

    Raises:
        MissingPackageError: If plotly is not installed.
    """
    sizes = np.abs(np.nan_to_num(np.stack([means for _, means, _ in groups]))).max(0)
    kept = sorted(np.argsort(-sizes, kind="stable")[:shown].tolist())
    traces = [
        plotly().Bar(
            name=as_label(name),
            x=[as_label(labels[i]) for i in kept],
            y=means[kept].tolist(),
            marker={"color": signs(means[kept].tolist())} if len(groups) == 1 else _look(k),
            error_y={
                "array": (ends[1] - means)[kept].tolist(),
                "arrayminus": (means - ends[0])[kept].tolist(),
                "thickness": 1,
            },
        )
        for k, (name, means, ends) in enumerate(groups)
    ]
    left = len(labels) - len(kept)
    # A category each: plotly makes numbers or dates of labels that look like them.
    axis = {"type": "category", "range": [-0.5, len(kept) - 0.5], "automargin": True, "tickangle": -90}
    legend = {"legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}} if len(groups) > 1 else {}
    layout = {"xaxis": axis, "yaxis": {"title": {"text": "logits"}}, **legend, "height": 340}
    return figure(title, traces, layout, f"{left} weaker parts are not drawn" if left else "")


def _look(group: int) -> dict[str, Any]:
    shape = _PATTERNS[group % len(_PATTERNS)]
    return {"color": GROUPS[group % len(GROUPS)], "pattern": {"shape": shape, "solidity": 0.4}}
