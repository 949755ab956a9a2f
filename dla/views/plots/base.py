"""What all plots have in common: plotly, the scale of colours, and the look, which a caller may restyle."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from dla.errors import MissingPackageError
from dla.views.palette import NEGATIVE, NEUTRAL, POSITIVE, ZERO, mark_of
from dla.views.text import as_label

_MARKED = 2048  # cells

SCALE = ((0.0, NEGATIVE), (0.5, ZERO), (1.0, POSITIVE))
"""Colours from the most negative value over zero to the most positive."""

_TICKS = 32  # of an axis, where each still has room for its name


def plotly() -> Any:
    """Plotly's graph objects.

    Raises:
        MissingPackageError: If it is not installed; names the extra that brings it.
    """
    try:
        return importlib.import_module("plotly.graph_objects")
    except ImportError as error:
        raise MissingPackageError("A plot needs plotly, which is not installed: pip install 'dla[plot]'") from error


def figure(title: str, traces: Sequence[Any], layout: Mapping[str, Any], note: str = "") -> Any:
    """A figure in the look of all plots.

    Args:
        title: What stands above.
        traces: What is drawn.
        layout: What else plotly's layout says.
        note: A smaller line below the title; "" for none.
    """
    below = f"<br><sub>{as_label(note)}</sub>" if note else ""
    look = {"template": "plotly_white", "title": {"text": as_label(title) + below}, "margin": {"t": 90 if note else 70}}
    return plotly().Figure(list(traces), layout={**look, **layout})


def cells(
    values: Float64[np.ndarray, "row column"],
    texts: Sequence[Sequence[str]],
    largest: float | None = None,
    more: Mapping[str, Any] | None = None,
    unit: str = "logits",
) -> Any:
    """A map of cells, white at zero.

    Args:
        values: The numbers; NaN where there is no cell.
        texts: What the pointer shows of each.
        largest: From which value on, of either sign, a colour is full; None for the largest there is.
        more: What else plotly's heat map says.
        unit: What the numbers are.
    """
    largest = largest or largest_of(values)
    return plotly().Heatmap(
        # plotly draws no cell for None
        z=[[None if value != value else value for value in row] for row in values.tolist()],
        hovertext=[list(map(as_label, row)) for row in texts],
        hoverinfo="text",
        colorscale=[list(stop) for stop in SCALE],
        zmin=-largest,
        zmax=largest,
        colorbar={"title": {"text": unit}},
        **{**_marks(values), **(more or {})},
    )


def _marks(values: Float64[np.ndarray, "row column"]) -> dict[str, Any]:
    """The sign of each cell, for who does not see colours; on a large map a mark would be a speck."""
    if values.size > _MARKED:
        return {}
    return {"text": [[mark_of(value) for value in row] for row in values.tolist()], "texttemplate": "%{text}"}


def largest_of(values: Float64[np.ndarray, "..."]) -> float:
    """The largest number of either sign, for a scale that is centred at zero."""
    known = np.abs(values[np.isfinite(values)])
    return float(known.max()) or 1.0 if known.size else 1.0


def names_axis(names: Sequence[str], title: str = "") -> dict[str, Any]:
    """An axis of names; where there are too many, only some are written.

    Args:
        names: The names, each of which is one category: plotly makes numbers or dates of texts that look like them.
        title: What the names are.
    """
    step = max(1, -(-len(names) // _TICKS))
    places = list(range(0, len(names), step))
    ticks = {"tickmode": "array", "tickvals": places, "ticktext": [as_label(names[i]) for i in places]}
    return {"title": {"text": title}, "zeroline": False, **ticks}


def signs(values: Sequence[float]) -> list[str]:
    """The colour of each bar."""
    return [POSITIVE if value > 0 else NEGATIVE if value < 0 else NEUTRAL for value in values]
