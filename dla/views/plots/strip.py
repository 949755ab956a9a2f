"""A text, each of whose tokens has a colour."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from dla.views.grid import signed
from dla.views.plots.base import cells, figure
from dla.views.plots.rows import PlotRows
from dla.views.text import as_label

_LINE = 88  # characters of a line of tokens, in which each has as much room as a long one
_FEWEST, _MOST = 4, 14  # tokens of a line
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
    words = [_written(token) for token in tokens]
    usual = int(np.quantile([len(word) for word in words], 0.95)) if words else 1
    wide = max(_FEWEST, min(_MOST, _LINE // (usual + 2), len(tokens)))
    lines = max(1, -(-len(tokens) // wide))
    numbers = np.full((lines, wide), np.nan)
    numbers.flat[: len(tokens)] = values
    texts, written = ([[""] * wide for _ in range(lines)] for _ in range(2))
    for i, token in enumerate(tokens):
        row, column = divmod(i, wide)
        texts[row][column] = f"{places[i]} {token!r} {signed(float(values[i]))}"
        written[row][column] = as_label(words[i])
    more = {
        "text": written,
        "texttemplate": "%{text}",
        "xgap": 1,
        "ygap": 3,
        "showscale": False,
        "textfont": {"size": 12},
    }
    more["showscale"] = False
    axes = {"xaxis": {"visible": False}, "yaxis": {"visible": False, "autorange": "reversed"}}
    margin = {"l": 22, "r": 22, "b": 16}
    return figure(title, [cells(numbers, texts, more=more)], {**axes, "margin": margin, "height": 32 * lines}, note)


def _written(token: str) -> str:
    short = token if len(token) <= _LONGEST else f"{token[: _LONGEST - 1]}…"
    return short.strip() or repr(token)


def source_strip(rows: PlotRows, head: str | None = None) -> Any:
    """The prompt, coloured by what a head reads of each token, or by all rows that belong to a token.

    Args:
        rows: The rows of one prompt.
        head: The head; None for all rows.

    Raises:
        ValueError: If the result has no sources of that head, or is of several prompts.
    """
    sources: dict[int, list[int]] = {}
    for i, label in enumerate(rows.parts):
        if label.source is not None and (head is None or str(label.parent) == head):
            sources.setdefault(label.source, []).append(i)
    if not sources:
        name = repr("L9H6" if head is None else head)
        raise ValueError(
            f"The rows have no sources of {'any head' if head is None else name}. Split one first: "
            f"result.refine({name}, by=dla.SourceDecomposer()).plot.sources({name})."
        )
    if len(rows.tokens) > 1:
        raise ValueError(f"The sources of {len(rows.tokens)} prompts have no text in common. Attribute one prompt.")
    length = max(sources) + 1
    tokens = [rows.tokens[0][i] if rows.tokens else str(i) for i in range(length)]
    values = np.array([rows.means[sources[i]].sum() if i in sources else np.nan for i in range(length)])
    total = signed(float(np.nansum(values)))
    if head is not None:
        title = f"{head}, by the token that it reads: {rows.directions[0]}{rows.averaged}"
        return token_strip(title, tokens, values, f"all that {head} reads: {total}")
    drawn = {i for each in sources.values() for i in each}
    rest = [rows.means[i] for i in range(len(rows.parts)) if i not in drawn]
    note = f"all tokens: {total}; {len(rest)} rows of no token: {signed(float(np.nansum(rest)))}"
    return token_strip(f"{rows.mean_title}, by token", tokens, values, note)


def answer_strip(rows: PlotRows, part: str | None) -> Any:
    """A text, coloured by what each position contributes to its own target; where that is the next token, as the next.

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
    prompt, positions = rows.places[0][0], [position + rows.following for _, position in rows.places]
    tokens = [rows.tokens[prompt][i] if rows.tokens else str(i) for i in positions]
    where = "of each token" if rows.following else "at each position"
    title = f"{part or 'the logit'} {where}: {rows.directions[0]}"
    return token_strip(title, tokens, values, places=positions)
