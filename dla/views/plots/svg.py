"""A picture as SVG, drawn without plotly or a browser: heads as a map, other rows as a waterfall or bars."""

from collections.abc import Sequence
from html import escape
from textwrap import wrap

import numpy as np
from jaxtyping import Float64

from dla.text import as_text
from dla.views.grid import signed
from dla.views.palette import NEGATIVE, NEUTRAL, POSITIVE, colour_of, mark_of
from dla.views.plots.base import largest_of
from dla.views.plots.head_map import MLPS, head_grid
from dla.views.plots.rows import PlotRows, mean_over
from dla.views.plots.waterfall import waterfall_steps

_LINE, _LABELS, _BARS, _NUMBERS = 20, 150, 420, 90  # pixels
_CELL = 22
_LETTER = 6.6  # how wide a letter of the title is
Pixels = float | int
_ROWS = 60  # rows of bars, and steps of a waterfall, at most
_STEPS = 14


def svg_of(rows: PlotRows) -> str:
    """The picture of a result with one direction.

    Args:
        rows: Its rows.
    """
    if sum(label.kind == "head" for label in rows.parts) > 1:
        return _map(rows)
    constant, logit = (float(mean_over(each[0], 0)) for each in (rows.constant, rows.logit))
    if not rows.additive:
        names = rows.labels[:_ROWS]
        return _bars(rows, [(name, 0.0, float(rows.means[i]), "") for i, name in enumerate(names)])
    bars, end = [("constant", 0.0, constant, NEUTRAL)], constant
    for name, size in waterfall_steps(rows, _STEPS):
        bars.append((name, end, end + size, ""))
        end += size
    return _bars(rows, [*bars, ("logit", 0.0, logit, NEUTRAL)])


def _bars(rows: PlotRows, bars: Sequence[tuple[str, float, float, str]]) -> str:
    """Each bar has a name, a begin, an end, and a colour, or "" for that of its sign."""
    edges = [edge for _, begin, end, _ in bars for edge in (begin, end) if np.isfinite(edge)]
    low, high = min([*edges, 0.0]), max([*edges, 0.0])
    scale = _BARS / ((high - low) or 1.0)
    shapes = [_rectangle(_LABELS + scale * (0 - low), 30, 1, _LINE * len(bars), NEUTRAL)]
    for i, (name, begin, end, colour) in enumerate(bars):
        top = 30 + _LINE * i
        shapes.append(_text(_LABELS - 8, top + 14, _short(name), "end"))
        if np.isfinite(end - begin):
            left, length = _LABELS + scale * (min(begin, end) - low), max(1.0, scale * abs(end - begin))
            shapes.append(_rectangle(left, top + 3, length, _LINE - 6, colour or colour_of(end - begin)))
        shapes.append(_text(_LABELS + _BARS + 10, top + 14, signed(end - begin)))
    return _document(rows, _LABELS + _BARS + _NUMBERS, 44 + _LINE * len(bars), shapes)


def _map(rows: PlotRows) -> str:
    values, texts, columns = head_grid(rows.parts, rows.means)
    largest = largest_of(values[:, : len(columns) - (columns[-1] == MLPS)])
    wide = [46 + _CELL * i for i in range(len(columns))]
    step = max(1, len(columns) // 32)
    shapes = [_text(left + 11, 42, name, "middle") for left, name in list(zip(wide, columns, strict=True))[::step]]
    for layer in range(values.shape[0]):
        top = 48 + _CELL * layer
        shapes.append(_text(38, top + 15, str(layer), "end"))
        for left, value, text in zip(wide, values[layer].tolist(), texts[layer], strict=True):
            shapes.append(_cell(left, top, value, text, largest))
    return _document(rows, max(360, 60 + _CELL * len(columns)), 60 + _CELL * len(values), shapes)


def _cell(left: int, top: int, value: float, text: str, largest: float) -> str:
    if not np.isfinite(value):
        return ""
    share = min(1.0, abs(value) / largest)
    shape = _rectangle(left, top, _CELL - 2, _CELL - 2, mixed(value, share), f"<title>{_safe(text)}</title>")
    mark = mark_of(value) if share > 0.15 else ""
    return shape + (
        _text(left + 10, top + 14, mark, "middle", "#fff" if share > 0.92 and value > 0 else "#000") if mark else ""
    )


def mixed(value: float, share: float) -> str:
    """The colour of a sign on white, at a share of its strength."""
    full = POSITIVE if value > 0 else NEGATIVE
    parts: Float64[np.ndarray, " rgb"] = np.array([int(full[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float64)
    red, green, blue = (255 + share * (parts - 255)).round().astype(int).tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def _rectangle(left: Pixels, top: Pixels, width: Pixels, height: Pixels, fill: str, inside: str = "") -> str:
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}">{inside}</rect>\n'
    )


def _text(left: Pixels, top: Pixels, text: str, anchor: str = "start", fill: str = "#1b1b1f") -> str:
    return f'<text x="{left:.1f}" y="{top:.1f}" text-anchor="{anchor}" fill="{fill}">{_safe(text)}</text>\n'


def _document(rows: PlotRows, width: int, height: int, shapes: Sequence[str]) -> str:
    style = 'font-family="system-ui, sans-serif" font-size="12" role="img"'
    lines = wrap(as_text(rows.mean_title), int((width - 20) / _LETTER))
    below = _LINE * (len(lines) - 1)
    size = f'width="{width}" height="{height + below}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + below}" {size}'
    headline = "".join(_text(10, 20 + _LINE * i, line) for i, line in enumerate(lines))
    shown = f'<title>{_safe(rows.mean_title)}</title>\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
    drawn = f'<g transform="translate(0 {below})">\n{"".join(shapes)}</g>'
    return f"{head} {style}>\n{shown}{headline}{drawn}\n</svg>\n"


def _short(text: str, most: int = 22) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _safe(text: str) -> str:
    return escape(as_text(text))
