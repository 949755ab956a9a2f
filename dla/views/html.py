"""An attribution as a table in a notebook."""

from collections.abc import Iterable, Sequence
from html import escape

from dla.views.table import Row, signed

_CELL = "padding:1px 10px;text-align:{align}"


def html_table(title: str, top: Sequence[Row], bottom: Sequence[Row], proof: Sequence[Row]) -> str:
    """The strongest parts of either sign with bars, then the sums that prove them."""
    largest = max((abs(value) for _, value in [*top, *bottom]), default=0.0) or 1.0
    rows = "".join(_row(label, value, abs(value) / largest) for label, value in [*top, *bottom])
    rows += "".join(_row(label, value, 0.0) for label, value in proof)
    return f"<table><caption>{escape(title)}</caption><tr><th>part</th><th>logits</th><th></th></tr>{rows}</table>"


def html_rows(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Any table of texts, the first column to the left."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    lines = "".join(f"<tr>{''.join(_cell(text, i) for i, text in enumerate(row))}</tr>" for row in rows)
    return f"<table><caption>{escape(title)}</caption><tr>{head}</tr>{lines}</table>"


def _cell(text: str, column: int) -> str:
    return f'<td style="{_CELL.format(align="right" if column else "left")}">{escape(text)}</td>'


def _row(label: str, value: float, share: float) -> str:
    colour = "#2a9d4e" if value > 0 else "#c8402f"
    bar = f'<div style="width:{160 * share:.0f}px;height:10px;background:{colour}"></div>' if share else ""
    left, right = _CELL.format(align="left"), _CELL.format(align="right")
    return (
        f'<tr><td style="{left}">{escape(label)}</td><td style="{right}">{signed(value)}</td>'
        f'<td style="{left}">{bar}</td></tr>'
    )
