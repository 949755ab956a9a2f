"""What all plots have in common: plotly, the scale of colours, and the look, which a caller may restyle."""

import importlib
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from jaxtyping import Float64

from dla.errors import MissingPackageError
from dla.text import as_text
from dla.views.palette import DARK, GROUPS, INK, NEGATIVE, NEUTRAL, PALE, POSITIVE, mark_of
from dla.views.text import as_label

_MARKED = 2048  # cells
_FAINT = 0.15  # of the largest: the mark of a weaker cell says little, and all of them together hide the strong ones
_TITLE, _NOTE = 72, 92  # characters of a line, where a figure is 560 pixels wide
_TICKS = 32  # of an axis, where each still has room for its name
_LETTER, _HIGH = 0.014, 0.05  # how wide and high a letter of a point's name is, as a share of the drawing
_BESIDE = 0.16  # of a bars' axis at either side, for the numbers at their ends

LIGHT_LOOK, DARK_LOOK = "dla", "dla_dark"
"""The names of the two looks among plotly's templates."""

SCALE = (
    (0.0, NEGATIVE),
    (0.5, "rgba(213,94,0,0)"),
    (0.5, "rgba(0,114,178,0)"),
    (1.0, POSITIVE),
)
"""Colours from the most negative value over zero, which is the background whatever it is, to the most positive."""


def plotly() -> Any:
    """Plotly's graph objects; the first call gives plotly the two looks.

    Raises:
        MissingPackageError: If it is not installed; names the extra that brings it.
    """
    try:
        objects, templates = importlib.import_module("plotly.graph_objects"), importlib.import_module("plotly.io")
    except ImportError as error:
        raise MissingPackageError("A plot needs plotly, which is not installed: pip install 'dla[plot]'") from error
    if LIGHT_LOOK not in templates.templates:
        for name, base, ink, ground in ((LIGHT_LOOK, "white", INK, "#ffffff"), (DARK_LOOK, "dark", PALE, DARK)):
            look = objects.layout.Template(templates.templates[f"plotly_{base}"])
            grounds = {"paper_bgcolor": ground, "plot_bgcolor": ground, "font": {"color": ink}}
            look.layout.update(grounds, colorway=[ink, NEUTRAL, *GROUPS])
            look.data.heatmap = [{"textfont": {"color": ink}}] if ground == DARK else []
            templates.templates[name] = look
    return objects


def _look() -> str:
    """The dark one where plotly's own default is dark."""
    default = importlib.import_module("plotly.io").templates.default or ""
    return DARK_LOOK if "dark" in default else LIGHT_LOOK


def figure(title: str, traces: Sequence[Any], layout: Mapping[str, Any], note: str = "") -> Any:
    """A figure in the look of all plots.

    Args:
        title: What stands above.
        traces: What is drawn.
        layout: What else plotly's layout says; `height` is that of the drawing, without the title.
        note: A smaller line below the title; "" for none.
    """
    figures = plotly()
    above, below = _lines(title, _TITLE), _lines(note, _NOTE)
    text = "<br>".join([*above, *(f"<sub>{line}</sub>" for line in below)])
    pad = 26 if len(above) + len(below) > 1 else 18  # plotly lifts what has several lines
    top = 34 + 20 * len(above) + 20 * len(below) + (28 if "legend" in layout else 0)
    place = {"x": 0, "xref": "container", "y": 1, "yref": "container", "yanchor": "top", "pad": {"t": pad, "l": 22}}
    look = {"template": _look(), "title": {"text": text, "font": {"size": 15}, **place}}
    margin = {"t": top, "b": 60, **layout.get("margin", {})}
    height = {"height": layout["height"] + margin["t"] + margin["b"]} if "height" in layout else {}
    return figures.Figure(list(traces), layout={**look, **layout, **height, "margin": margin})


def _lines(text: str, width: int) -> list[str]:
    """A text in lines, since plotly does not break a title that is wider than its figure."""
    # Not after a quotation mark: the space there is a token's own.
    lines = wrap(as_text(text).replace("' ", "'\xa0"), width) if text else []
    return [as_label(line.replace("\xa0", " ")) for line in lines]


def cells(
    values: Float64[np.ndarray, "row column"],
    texts: Sequence[Sequence[str]],
    largest: float | None = None,
    more: Mapping[str, Any] | None = None,
    unit: str = "logits",
) -> Any:
    """A map of cells, as the background at zero.

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
        colorbar={"title": {"text": unit}, "thickness": 16},
        **{**_marks(values, largest), **(more or {})},
    )


def _marks(values: Float64[np.ndarray, "row column"], largest: float) -> dict[str, Any]:
    """The sign of each strong cell, for who does not see colours; on a large map a mark would be a speck."""
    if values.size > _MARKED:
        return {}
    strong = [[value if abs(value) > _FAINT * largest else 0.0 for value in row] for row in values.tolist()]
    return {"text": [[mark_of(value) for value in row] for row in strong], "texttemplate": "%{text}"}


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
    return {"title": {"text": title}, "zeroline": False, "showgrid": False, "automargin": True, **ticks}


def bars_axes(names: Sequence[str], edges: Sequence[float], beside: float = _BESIDE) -> dict[str, Any]:
    """The axes of horizontal bars: their names, the first on top, and room for the numbers at their ends.

    Args:
        names: The names.
        edges: Where bars begin and end.
        beside: The share of the axis that is left at either side.
    """
    known = [edge for edge in edges if np.isfinite(edge)]
    low, high = min([*known, 0.0]), max([*known, 0.0])
    room = beside * ((high - low) or 1.0)
    ticks = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": list(map(as_label, names))}
    ends = [low - (room if low < 0 else 0.0), high + room]
    return {
        "yaxis": {**ticks, "autorange": "reversed", "automargin": True, "showgrid": False, "zeroline": False},
        "xaxis": {"title": {"text": "logits"}, "range": ends, "zeroline": True},
    }


def named_points(
    order: Sequence[int], names: Sequence[str], x: Float64[np.ndarray, " point"], y: Float64[np.ndarray, " point"]
) -> set[int]:
    """The points whose names are written: in some order, each whose name meets none that is written already.

    Args:
        order: The points, the most important first.
        names: Their names, which stand above them.
        x: Where they are.
        y: Where they are, upwards.
    """
    across, up = (each / (float(np.ptp(np.append(each, 0.0))) or 1.0) for each in (x, y))
    named: list[int] = []
    for i in order:
        meets = (
            abs(across[i] - across[j]) < _LETTER * (len(names[i]) + len(names[j])) / 2 and abs(up[i] - up[j]) < _HIGH
            for j in named
        )
        if not any(meets):
            named.append(i)
    return set(named)


def signs(values: Sequence[float]) -> list[str]:
    """The colour of each bar."""
    return [POSITIVE if value > 0 else NEGATIVE if value < 0 else NEUTRAL for value in values]
