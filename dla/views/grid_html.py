"""A table in a notebook: no script, the colours of its page, and readable where a notebook takes styles away."""

from collections.abc import Sequence

from dla.views.bars import Bars
from dla.views.palette import colour_of
from dla.views.text import as_html

_PIXELS = 160  # of the room for bars
_SHOWN, _FOLDED = 40, 1000  # how many rows of a section are shown at once, and how many after a click

HtmlRow = Sequence[str]
"""The cells of a row, its label first."""


def html_table(
    title: str,
    header: Sequence[str],
    left: Sequence[bool],
    sections: Sequence[Sequence[HtmlRow]],
    values: Sequence[Sequence[float | None]],
    bars: Bars | None,
    note: str,
) -> str:
    """A table, of which long sections are folded.

    Args:
        title: The caption.
        header: What stands above each column.
        left: Which columns are aligned left.
        sections: The rows.
        values: The value of each row's bar; None for no bar.
        bars: The scale of the bars; None for a table without them.
        note: What stands below.
    """
    shown: list[str] = []
    folded: list[str] = []
    for rows, of_rows in zip(sections, values, strict=True):
        cells = [_row(row, left, value, bars) for row, value in zip(rows[:_FOLDED], of_rows, strict=False)]
        shown, folded = shown + cells[:_SHOWN], folded + cells[_SHOWN:]
    names = zip((*header, *([] if bars is None else [""])), (*left, True), strict=False)
    head = "".join(f'<th scope="col" style="{_look(side)}">{as_html(name)}</th>' for name, side in names)
    caption = f'<caption style="caption-side:top;text-align:left">{as_html(title)}</caption>' if title else ""
    table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(shown)}</tbody></table>"
    out = sum(max(0, len(rows) - _FOLDED) for rows in sections)
    texts = [f"{out} more rows are in to_dataframe().", note] if out else [note]
    return (
        table + _details(f"{len(folded)} more rows", head, folded) + "".join(f"<p>{as_html(t)}</p>" for t in texts if t)
    )


def folded_html(tables: Sequence[str], names: Sequence[str], shown: int = 2) -> str:
    """Several tables, of which those after the first are folded."""
    after = zip(names[shown:], tables[shown:], strict=True)
    more = (f"<details><summary>{as_html(name)}</summary>{table}</details>" for name, table in after)
    return "".join((*tables[:shown], *more))


def _details(summary: str, head: str, rows: Sequence[str]) -> str:
    if not rows:
        return ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<details><summary>{summary}</summary>{table}</details>"


def _row(row: HtmlRow, left: Sequence[bool], value: float | None, bars: Bars | None) -> str:
    label, *cells = row
    first = f'<th scope="row" style="{_look(True)}">{as_html(label)}</th>'
    rest = (f'<td style="{_look(side)}">{as_html(cell)}</td>' for cell, side in zip(cells, left[1:], strict=True))
    return f"<tr>{first}{''.join(rest)}{'' if bars is None else _bar(value, bars)}</tr>"


def _bar(value: float | None, bars: Bars) -> str:
    before, length = bars.place(value, _PIXELS)
    if not length:
        return "<td></td>"
    place = f"margin-left:{before:.0f}px;width:{max(length, 1):.0f}px;height:10px"
    return f'<td style="min-width:{_PIXELS}px"><div style="{place};background:{colour_of(value or 0.0)}"></div></td>'


def _look(left: bool) -> str:
    return f"padding:1px 10px;text-align:{'left' if left else 'right;white-space:nowrap'}"
