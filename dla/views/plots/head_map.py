"""Layers and heads as a map, layer 0 on top."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from dla.labels import Label
from dla.views.grid import signed
from dla.views.plots.base import cells, figure, largest_of, names_axis
from dla.views.plots.rows import PlotRows

MLPS = "MLP"
"""The name of the column of MLPs."""

HeadGrid = tuple[Float64[np.ndarray, "layer head"], list[list[str]], list[str]]
"""The values by layer and head, what each cell is, and the names of the columns."""


def heat_map(
    title: str,
    values: Float64[np.ndarray, "layer head"],
    texts: Sequence[Sequence[str]],
    columns: Sequence[str] = (),
    note: str = "",
    largest: float | None = None,
) -> Any:
    """One cell per layer and head, white at zero.

    Args:
        title: The title.
        values: The means; NaN where there is no such head.
        texts: What the pointer shows of each cell.
        columns: The names of the columns; the heads' numbers if left out.
        note: A line below the title.
        largest: From which value on a colour is full; None for the largest there is.

    Raises:
        MissingPackageError: If plotly is not installed.
    """
    names = list(columns) or [str(head) for head in range(values.shape[1])]
    layers = [str(layer) for layer in range(values.shape[0])]
    layout = {
        "xaxis": names_axis(names, "head"),
        "yaxis": {**names_axis(layers, "layer"), "autorange": "reversed"},
        "height": max(180, min(880, 26 * len(layers))),
    }
    return figure(title, [cells(values, texts, largest)], layout, note)


def head_map(rows: PlotRows, told: Sequence[str] = ()) -> Any:
    """The heads of a result, next to them the MLPs; the rows that have no cell are named below the title.

    Args:
        rows: The rows.
        told: What the pointer shows of each besides its name and value.

    Raises:
        ValueError: If no row is a head.
    """
    drawn = {i for i, label in enumerate(rows.parts) if _column(label) is not None}
    values, texts, columns = head_grid(rows.parts, rows.means, told)
    rest = [rows.means[i] for i in range(len(rows.parts)) if i not in drawn]
    note = f"{len(rest)} other rows, which sum to {signed(float(np.nansum(rest)))}, are not drawn" if rest else ""
    # On the scale of the heads: an MLP may be ten times as large, and would leave them white.
    heads = values[:, : len(columns) - (columns[-1] == MLPS)]
    return heat_map(rows.mean_title, values, texts, columns, note, largest_of(heads))


def head_grid(parts: Sequence[Label], means: Float64[np.ndarray, " part"], told: Sequence[str] = ()) -> HeadGrid:
    """The values of heads by layer and head, those of MLPs in a column of their own.

    Raises:
        ValueError: If no part is a head.
    """
    places: Mapping[int, tuple[int, int]] = {
        i: (label.layer, column)
        for i, label in enumerate(parts)
        if (column := _column(label)) is not None and label.layer is not None
    }
    heads = [column for _, column in places.values() if column >= 0]
    if not heads:
        raise ValueError(
            "No row is a head, so there is no map of heads. Attribute with HeadDecomposer(), or see plot.ranked()."
        )
    width = max(heads) + 1
    mlps = any(column < 0 for _, column in places.values())
    shape = max(layer for layer, _ in places.values()) + 1, width + mlps
    values, texts = np.full(shape, np.nan), [[""] * shape[1] for _ in range(shape[0])]
    for i, (layer, column) in places.items():
        values[layer, column] = means[i]  # -1, the last column, is that of the MLPs
        texts[layer][column] = f"{parts[i]} {signed(float(means[i]))}" + (f" {told[i]}" if told else "")
    return values, texts, [*map(str, range(width)), *([MLPS] if mlps else [])]


def _column(label: Label) -> int | None:
    if label.layer is None:
        return None
    if label.kind == "head":
        return label.index
    return -1 if label.kind == "mlp_out" else None
