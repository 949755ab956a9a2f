"""An attribution as a table in the terminal."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

Row = tuple[str, float]
_BAR = 24


def rich_table(title: str, top: Sequence[Row], bottom: Sequence[Row], proof: Sequence[Row]) -> Table:
    """The strongest parts of either sign with bars, then the sums that prove them."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("part", no_wrap=True)
    table.add_column("logits", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, width=_BAR)
    largest = max((abs(value) for _, value in [*top, *bottom]), default=0.0)
    for rows in (top, bottom):
        for label, value in rows:
            table.add_row(Text(label), signed(value), _bar(value, largest))
        if rows:
            table.add_section()
    for label, value in proof:
        table.add_row(Text(label, style="dim"), signed(value), "")
    return table


def signed(value: float) -> str:
    """A signed number, short, with small ones in powers of ten."""
    return f"{value:+.4f}" if value == 0 or abs(value) >= 5e-4 else f"{value:+.1e}"


def _bar(value: float, largest: float) -> Text:
    length = round(_BAR * abs(value) / largest) if largest else 0
    return Text("█" * length, style="green" if value > 0 else "red")
