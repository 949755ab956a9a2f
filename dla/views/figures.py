"""Plots of means, with plotly, which is imported only here."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from dla.errors import MissingPackageError
from dla.views.text import as_label

_RED_TO_GREEN = ((0.0, "#c8402f"), (0.5, "#ffffff"), (1.0, "#2a9d4e"))


def heat_map(title: str, values: Float64[np.ndarray, "layer head"], texts: Sequence[Sequence[str]]) -> Any:
    """One cell per layer and head, white at zero.

    Args:
        title: The title.
        values: The means; NaN where there is no such head.
        texts: What the pointer shows of each cell.

    Raises:
        MissingPackageError: If plotly is not installed.
    """
    largest = float(np.nanmax(np.abs(values))) or 1.0
    # plotly draws no cell for None.
    cells = _plotly().Heatmap(
        z=[[None if value != value else value for value in row] for row in values.tolist()],
        text=[list(map(as_label, row)) for row in texts],
        hovertemplate="%{text}<extra></extra>",
        colorscale=[list(stop) for stop in _RED_TO_GREEN],
        zmin=-largest,
        zmax=largest,
        colorbar={"title": {"text": "logits"}},
    )
    axes = {"xaxis": {"title": {"text": "head"}, "dtick": 1}, "yaxis": {"title": {"text": "layer"}, "dtick": 1}}
    return _plotly().Figure(cells, layout={"title": {"text": as_label(title)}, **axes})


def bars(
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
        _plotly().Bar(
            name=as_label(name),
            x=list(map(as_label, labels)),
            y=means.tolist(),
            error_y={"array": (ends[1] - means).tolist(), "arrayminus": (means - ends[0]).tolist(), "thickness": 1},
        )
        for name, means, ends in groups
    ]
    # A category each: plotly makes numbers or dates of labels that look like them.
    axes = {"xaxis": {"type": "category"}, "yaxis": {"title": {"text": "logits"}}}
    layout = {"title": {"text": as_label(title)}, **axes, "showlegend": len(groups) > 1}
    return _plotly().Figure(traces, layout=layout)


def _plotly() -> Any:
    """Plotly's graph objects.

    Raises:
        MissingPackageError: If it is not installed; names the extra that brings it.
    """
    try:
        return importlib.import_module("plotly.graph_objects")
    except ImportError as error:
        raise MissingPackageError("A plot needs plotly, which is not installed: pip install 'dla[plot]'") from error
