"""A table of labels, numbers and bars: one description for the terminal and for a notebook."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from dla.text import as_text
from dla.views.text import as_html

_PIXELS = 120  # of the longest bar in a notebook


@final
@dataclass(frozen=True)
class Line:
    """One row.

    Attributes:
        label: Its name, in the first column.
        cells: The other columns.
        value: The length and sign of its bar; None for no bar. A grid without bars has no column for them.
    """

    label: str
    cells: tuple[str, ...]
    value: float | None = None


@final
@dataclass(frozen=True)
class Grid:
    """A table: sections of rows. Every text is shown as it is, never read as markup.

    Attributes:
        title: The line above it.
        header: The names of the columns after the first.
        sections: The rows, in sections divided by a rule.
        note: The line below it, if any.
        rows: The name of the first column.
        words: The columns after the first that hold words, and are aligned left.
        bar: How many characters the longest bar has.
    """

    title: str
    header: tuple[str, ...]
    sections: tuple[tuple[Line, ...], ...]
    note: str = ""
    rows: str = "part"
    words: tuple[str, ...] = ()
    bar: int = 10

    @staticmethod
    def of_rows(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[str] = ()) -> "Grid":
        """A table without bars, whose first column names the rows.

        Args:
            title: The line above it.
            header: The names of all columns.
            rows: The rows.
            words: The columns after the first that hold words.
        """
        lines = tuple(Line(label, tuple(cells)) for label, *cells in rows)
        return Grid(title, tuple(header[1:]), (lines,), rows=header[0], words=tuple(words))

    @property
    def _lengths(self) -> list[float]:
        return [abs(line.value) for lines in self.sections for line in lines if line.value is not None]

    @property
    def _largest(self) -> float:
        return max(self._lengths, default=0.0) or 1.0

    def rich(self) -> Table:
        """For the terminal."""
        table = Table(
            title=_text(self.title),
            title_justify="left",
            title_style="bold",
            caption=_text(self.note) if self.note else None,
            caption_justify="left",
        )
        table.add_column(_text(self.rows), no_wrap=True)
        for name in self.header:
            table.add_column(_text(name), justify="left" if name in self.words else "right", no_wrap=True)
        barred = bool(self._lengths)
        if barred:
            table.add_column("")  # may wrap, so that in a narrow terminal the bars are cut and not the numbers
        for lines in self.sections:
            for line in lines:
                label = _text(line.label, "dim" if barred and line.value is None else "")
                table.add_row(label, *map(_text, line.cells), *([self._bar(line.value)] if barred else []))
            if lines:
                table.add_section()
        return table

    def html(self) -> str:
        """For a notebook."""
        names = (self.rows, *self.header, *([""] if self._lengths else []))
        head = "".join(f"<th>{as_html(name)}</th>" for name in names)
        rows = "".join(self._row(line) for lines in self.sections for line in lines)
        note = f"<p>{as_html(self.note)}</p>" if self.note else ""
        return f"<table><caption>{as_html(self.title)}</caption><tr>{head}</tr>{rows}</table>{note}"

    def _bar(self, value: float | None) -> Text:
        length = round(self.bar * abs(value or 0.0) / self._largest)
        return Text("█" * length, style="green" if value and value > 0 else "red", no_wrap=True, overflow="crop")

    def _row(self, line: Line) -> str:
        cells = "".join(
            _cell(as_html(cell), "left" if name in self.words else "right")
            for name, cell in zip(self.header, line.cells, strict=True)
        )
        bar = ""
        if line.value:
            colour, width = "#2a9d4e" if line.value > 0 else "#c8402f", _PIXELS * abs(line.value) / self._largest
            bar = f'<div style="width:{width:.0f}px;height:10px;background:{colour}"></div>'
        return f"<tr>{_cell(as_html(line.label))}{cells}{_cell(bar) if self._lengths else ''}</tr>"


def printed(renderable: RenderableType) -> str:
    """What the terminal shows, as plain text."""
    console = Console(width=100, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def signed(value: float) -> str:
    """A number with its sign, in four decimals; small ones in powers of ten."""
    return f"{value:+.4f}" if value == 0 or abs(value) >= 5e-4 else f"{value:+.1e}"


def _text(text: str, style: str = "") -> Text:
    return Text(as_text(text), style=style)


def _cell(content: str, align: str = "left") -> str:
    return f'<td style="padding:1px 10px;text-align:{align}">{content}</td>'
