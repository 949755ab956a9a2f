"""Parts that fed each other, as points by position and layer with lines between them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dla.views.graph_data import GraphData, GraphNode
from dla.views.grid import signed
from dla.views.palette import NEGATIVE, POSITIVE
from dla.views.plots.base import figure, named_points, names_axis, plotly, signs
from dla.views.plots.rows import token_name
from dla.views.text import as_label

_WIDTHS = (1, 2.5, 5)  # of edges, from the weak to the strong
_EDGES = 200  # the strongest; more would be a grey cloth
_TOLD = 4  # edges into a node that the pointer shows

NodePlace = tuple[float, float]
"""Where a node stands: its position in the prompt, and its layer."""


def node_graph(data: GraphData) -> Any:
    """The nodes that have a position, tokens at the bottom and the logit on top, and the strongest edges between them.

    Args:
        data: The graph.
    """
    places = _places(data.nodes)
    edges = sorted((e for e in data.edges if {e.source, e.target} <= {*places}), key=lambda e: -abs(e.value))
    traces = [*_lines(data, places, edges[:_EDGES]), _points(data, places)]
    last = max(node.position or 0 for node in data.nodes)
    names = [token_name(i, data.tokens) for i in range(last + 1)]
    layers = sorted({node.layer for node in data.nodes if node.layer is not None})
    top, floor = max((y for _, y in places.values()), default=0.0), min((y for _, y in places.values()), default=0.0)
    rows = {"tickmode": "array", "tickvals": layers, "ticktext": [str(layer) for layer in layers], "zeroline": False}
    others = [node for i, node in enumerate(data.nodes) if i not in places]
    notes = [f"{node.label}: {signed(node.value)}" for node in others]
    notes += [f"{len(edges) - _EDGES} weaker edges are not drawn"] if len(edges) > _EDGES else []
    layout = {
        "xaxis": {**names_axis(names), "range": [-0.7, last + 0.7]},
        "yaxis": {**rows, "title": {"text": "layer"}, "range": [floor - 0.6, top + 0.8]},
        "showlegend": False,
        "height": max(300, min(1000, int(70 * (top - floor + 1)))),
    }
    return figure(f"{data.direction}: what fed what", traces, layout, "; ".join(notes))


def _places(nodes: Sequence[GraphNode]) -> dict[int, NodePlace]:
    """The logit above all layers, what no layer wrote below them; nodes of one layer and position side by side."""
    layers = [node.layer for node in nodes if node.layer is not None]
    together: dict[tuple[int, float], list[int]] = {}
    for i, node in enumerate(nodes):
        if node.position is not None:
            low = max(layers, default=0) + 1 if i == 0 else -1 if node.layer is None else node.layer
            # an MLP reads what the heads of its layer wrote
            together.setdefault((node.position, low + (0.45 if node.kind == "mlp_out" else 0.0)), []).append(i)
    found = {
        i: (x + (k + 0.5) / len(beside) - 0.5 if len(beside) > 1 else float(x), y)
        for (x, y), beside in together.items()
        for k, i in enumerate(beside)
    }
    return dict(sorted(found.items()))


def _lines(data: GraphData, places: dict[int, NodePlace], edges: Sequence[Any]) -> list[Any]:
    largest = max((abs(edge.value) for edge in edges), default=0.0) or 1.0
    found: dict[tuple[float, str], tuple[list[float | None], list[float | None]]] = {}
    for edge in edges:
        width = _WIDTHS[min(int(len(_WIDTHS) * (abs(edge.value) / largest) ** 0.5), len(_WIDTHS) - 1)]
        x, y = found.setdefault((width, POSITIVE if edge.value > 0 else NEGATIVE), ([], []))
        (x0, y0), (x1, y1) = places[edge.source], places[edge.target]
        x += [x0, x1, None]
        y += [y0, y1, None]
    return [
        plotly().Scatter(x=x, y=y, mode="lines", line={"color": colour, "width": width}, opacity=0.75, hoverinfo="skip")
        for (width, colour), (x, y) in sorted(found.items())
    ]


def _points(data: GraphData, places: dict[int, NodePlace]) -> Any:
    drawn = [*places]
    nodes = [data.nodes[i] for i in drawn]
    x, y = (np.array([places[i][axis] for i in drawn]) for axis in (0, 1))
    sizes = np.sqrt([abs(node.value) for node in nodes])
    names = ["logit" if i == 0 else node.label for i, node in zip(drawn, nodes, strict=True)]
    named = named_points(np.argsort(-sizes, kind="stable").tolist(), names, x, y)
    return plotly().Scatter(
        x=x.tolist(),
        y=y.tolist(),
        mode="markers+text",
        marker={
            "size": (7 + 12 * sizes / (sizes.max(initial=0.0) or 1.0)).tolist(),
            "color": signs([node.value for node in nodes]),
            "line": {"width": 0},
        },
        text=[as_label(name) if k in named else "" for k, name in enumerate(names)],
        textposition="top center",
        cliponaxis=False,
        hovertext=["<br>".join(map(as_label, _told(data, i))) for i in drawn],
        hoverinfo="text",
    )


def _told(data: GraphData, i: int) -> list[str]:
    """What the pointer shows of a node."""
    node, into = data.nodes[i], data.into(i)
    at = "" if node.position is None else f" at {token_name(node.position, data.tokens)}"
    sources = [f"{signed(edge.value)} {data.nodes[edge.source].label}" for edge in into[:_TOLD]]
    return [f"{node.label}{at} {signed(node.value)}", *sources, *([node.note] if node.note else [])]
