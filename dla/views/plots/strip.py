"""A text, each of whose tokens has a colour."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from dla.views.grid import signed
from dla.views.plots.base import cells, figure
from dla.views.plots.rows import PlotRows
from dla.views.text import as_label

_PER_LINE = 12  # tokens
_LONGEST = 14  # characters of a token that are written in its cell


def token_strip(
    title: str, tokens: Sequence[str], values: Float64[np.ndarray, " token"], note: str = "", places: Sequence[int] = ()
) -> Any:
    """The tokens in lines, coloured by their values.

    Args:
        title: The title.
        tokens: The tokens.
        values: A number for each; NaN where there is none.
        note: A line below the title.
        places: The position of each token; counted from 0 if left out.
    """
    places = list(places) or list(range(len(tokens)))
    lines = max(1, -(-len(tokens) // _PER_LINE))
    numbers = np.full((lines, _PER_LINE), np.nan)
    numbers.flat[: len(tokens)] = values
    texts = [[""] * _PER_LINE for _ in range(lines)]
    written = [[""] * _PER_LINE for _ in range(lines)]
    for i, token in enumerate(tokens):
        row, column = divmod(i, _PER_LINE)
        texts[row][column] = f"{places[i]} {token!r} {signed(float(values[i]))}"
        short = token if len(token) <= _LONGEST else f"{token[: _LONGEST - 1]}…"
        written[row][column] = as_label(short.strip() or repr(token))
    trace = cells(
        numbers, texts, more={"text": written, "texttemplate": "%{text}", "xgap": 1, "ygap": 3, "showscale": False}
    )
    axes = {"xaxis": {"visible": False}, "yaxis": {"visible": False, "autorange": "reversed"}}
    return figure(title, [trace], {**axes, "height": 150 + 30 * lines}, note)


def source_strip(rows: PlotRows, head: str) -> Any:
    """The prompt, coloured by what a head reads of each token.

    Raises:
        ValueError: If the result has no sources of that head, or is of several prompts.
    """
    sources = {
        label.source: i
        for i, label in enumerate(rows.parts)
        if label.source is not None and label.parent is not None and str(label.parent) == head
    }
    if not sources:
        raise ValueError(
            f"The rows have no sources of {head!r}. Split it first: "
            f"result.refine({head!r}, by=dla.SourceDecomposer()).plot.sources({head!r})."
        )
    if len(rows.tokens) > 1:
        raise ValueError(f"The sources of {len(rows.tokens)} prompts have no text in common. Attribute one prompt.")
    length = max(sources) + 1
    tokens = [rows.tokens[0][i] if rows.tokens else str(i) for i in range(length)]
    values = np.array([rows.means[sources[i]] if i in sources else np.nan for i in range(length)])
    note = f"all that {head} reads: {signed(float(np.nansum(values)))}"
    return token_strip(f"{head}, by the token that it reads: {rows.directions[0]}{rows.averaged}", tokens, values, note)


def answer_strip(rows: PlotRows, part: str | None) -> Any:
    """A text, coloured by what each position contributes to its own target.

    Args:
        rows: The rows of one prompt at many positions.
        part: The row to show; None for the model's own logit.

    Raises:
        ValueError: If there are several prompts, or no such row.
    """
    if len({prompt for prompt, _ in rows.places}) != 1:
        raise ValueError("A text is that of one prompt. Attribute one prompt with pos=None.")
    if part is not None and part not in rows.labels:
        raise ValueError(f"There is no part {part!r}. Pass one of `labels`, or None for the model's own logit.")
    values = rows.logit[0] if part is None else rows.values[0][:, rows.labels.index(part)]
    prompt, positions = rows.places[0][0], [position for _, position in rows.places]
    tokens = [rows.tokens[prompt][i] if rows.tokens else str(i) for i in positions]
    title = f"{part or 'the logit'} at each position: {rows.directions[0]}"
    return token_strip(title, tokens, values, places=positions)
