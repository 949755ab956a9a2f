"""Rows of several numbers each, with a bar, in the terminal and in a notebook."""

from dataclasses import dataclass
from html import escape
from typing import final

from rich.table import Table
from rich.text import Text

_BAR = 10
_PIXELS = 120


@final
@dataclass(frozen=True)
class Line:
    """One row.

    Attributes:
        label: What it is of.
        cells: What stands in the columns.
        value: How long the bar is, and its colour; None for no bar. A grid without bars has no column for them.
    """

    label: str
    cells: tuple[str, ...]
    value: float | None = None


@final
@dataclass(frozen=True)
class Grid:
    """A table: sections of rows.

    Attributes:
        title: What stands above it.
        header: The names of the columns after the first.
        sections: The rows, in sections divided by a rule.
        note: What stands below it, if anything.
        rows: What the rows are.
    """

    title: str
    header: tuple[str, ...]
    sections: tuple[tuple[Line, ...], ...]
    note: str = ""
    rows: str = "part"

    @property
    def _lengths(self) -> list[float]:
        return [abs(line.value) for lines in self.sections for line in lines if line.value is not None]

    @property
    def _largest(self) -> float:
        return max(self._lengths, default=0.0) or 1.0

    def rich(self) -> Table:
        """For the terminal."""
        table = Table(
            title=self.title,
            title_justify="left",
            title_style="bold",
            caption=self.note or None,
            caption_justify="left",
        )
        table.add_column(self.rows, no_wrap=True)
        for name in self.header:
            table.add_column(Text(name), justify="right", no_wrap=True)
        barred = bool(self._lengths)
        if barred:
            table.add_column("")  # may wrap, and so gives way to the numbers where the terminal is narrow
        for lines in self.sections:
            for line in lines:
                label = Text(line.label, style="dim" if barred and line.value is None else "")
                table.add_row(label, *map(Text, line.cells), *([self._bar(line.value)] if barred else []))
            if lines:
                table.add_section()
        return table

    def html(self) -> str:
        """For a notebook."""
        head = "".join(f"<th>{escape(name)}</th>" for name in (self.rows, *self.header, ""))
        rows = "".join(self._row(line) for lines in self.sections for line in lines)
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        return f"<table><caption>{escape(self.title)}</caption><tr>{head}</tr>{rows}</table>{note}"

    def _bar(self, value: float | None) -> Text:
        length = round(_BAR * abs(value or 0.0) / self._largest)
        return Text("█" * length, style="green" if value and value > 0 else "red", no_wrap=True, overflow="crop")

    def _row(self, line: Line) -> str:
        cells = "".join(f'<td style="padding:1px 10px;text-align:right">{escape(cell)}</td>' for cell in line.cells)
        bar = ""
        if line.value:
            colour, width = "#2a9d4e" if line.value > 0 else "#c8402f", _PIXELS * abs(line.value) / self._largest
            bar = f'<div style="width:{width:.0f}px;height:10px;background:{colour}"></div>'
        left = "padding:1px 10px;text-align:left"
        return f'<tr><td style="{left}">{escape(line.label)}</td>{cells}<td style="{left}">{bar}</td></tr>'
