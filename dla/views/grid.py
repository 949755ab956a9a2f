"""A table of labels, numbers and bars: one description for the terminal and for a notebook."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from rich.box import HEAVY_HEAD
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from dla.text import as_text
from dla.views.bars import Bars
from dla.views.grid_html import html_table
from dla.views.palette import colour_of

_WIDTH = 100  # of what is printed, where no terminal says how wide it is
_NARROWEST = 8  # of a column of labels
_NARROWEST_WORDS = 16  # of a column of words


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
    def _bars(self) -> Bars:
        return Bars.of([line.value for lines in self.sections for line in lines if line.value is not None])

    def rich(self, width: int | None = None) -> Table:
        """For the terminal: bars are shortened first, then frames and labels, then columns are left out.

        Args:
            width: How many characters there are; None for what the terminal has.
        """
        fit = _Fit.of(self, Console().width if width is None else width)
        note = " ".join(text for text in (self.note, fit.note) if text)
        table = Table(
            title=_text(self.title),
            title_justify="left",
            title_style="bold",
            caption=_text(note) if note else None,
            caption_justify="left",
            box=HEAVY_HEAD if fit.framed else None,
            padding=(0, 1) if fit.framed else (0, 1, 0, 0),
        )
        table.add_column(_text(self.rows), width=fit.label, overflow="fold")
        for name in self.header[: fit.columns]:
            words = name in self.words
            table.add_column(
                _text(name), justify="left" if words else "right", overflow="fold", width=fit.words if words else None
            )
        if fit.bar:
            table.add_column("", width=fit.bar)
        for lines in self.sections:
            for line in lines:
                table.add_row(*self._cells(line, fit))
            if lines:
                table.add_section()
        return table

    def html(self) -> str:
        """For a notebook."""
        align = [True, *(name in self.words for name in self.header)]
        sections = [[(line.label, *line.cells) for line in lines] for lines in self.sections]
        values = [[line.value for line in lines] for lines in self.sections]
        bars = self._bars if self._barred else None
        return html_table(self.title, (self.rows, *self.header), align, sections, values, bars, self.note)

    @property
    def _barred(self) -> bool:
        return any(line.value is not None for lines in self.sections for line in lines)

    def _cells(self, line: Line, fit: "_Fit") -> list[Text]:
        cells = [_text(line.label, "dim" if self._barred and line.value is None else "")]
        cells += map(_text, line.cells[: fit.columns])
        if fit.bar:
            begin, length = self._bars.place(line.value, fit.bar)
            bar = "█" * (round(begin + length) - round(begin))
            cells.append(Text(" " * round(begin) + bar, style=colour_of(line.value or 0.0)))
        return cells


@final
@dataclass(frozen=True)
class _Fit:
    """What of a table a terminal has room for.

    Attributes:
        label: How many characters the labels have.
        columns: How many of the other columns.
        bar: How many characters the bars have; 0 for none.
        framed: Whether there are lines around the cells.
        note: What was left out.
        words: How many characters a column of words has, if its cells have to be folded.
    """

    label: int
    columns: int
    bar: int
    framed: bool
    note: str = ""
    words: int | None = None

    @staticmethod
    def of(grid: Grid, room: int) -> "_Fit":
        """The most that fits."""
        lines = [line for section in grid.sections for line in section]
        label = max(_length(grid.rows), *(_length(line.label) for line in lines), 1)
        widths = [
            max(_length(name), *(_length(line.cells[i]) for line in lines), 1) for i, name in enumerate(grid.header)
        ]
        left = room - (label + sum(widths) + 3 * (len(widths) + 1) + 1)
        bar = min(grid.bar, left - 3) if grid._barred else 0
        if left >= 0:
            return _Fit(label, len(widths), bar if bar >= 2 else 0, True)
        folded = [width for name, width in zip(grid.header, widths, strict=True) if name in grid.words]
        if len(folded) == 1 and folded[0] + left >= _NARROWEST_WORDS:
            return _Fit(label, len(widths), 0, True, words=folded[0] + left)
        columns = len(widths)
        while columns > 1 and _NARROWEST + sum(widths[:columns]) + columns + 1 > room:
            columns -= 1
        out = len(widths) - columns
        note = f"A wider terminal shows {out} more." if out else ""
        wide = max(_NARROWEST, min(label, room - sum(widths[:columns]) - columns - 1))
        return _Fit(wide, columns, 0, False, note)


def printed(renderable: RenderableType) -> str:
    """What the terminal shows, as plain text of its width."""
    console = Console(width=shutil.get_terminal_size((_WIDTH, 24)).columns, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def signed(value: float) -> str:
    """A number with its sign, in four decimals; small ones in powers of ten."""
    if value != value:
        return "NaN"
    return f"{value:+.4f}" if value == 0 or abs(value) >= 5e-4 else f"{value:+.1e}"


def _text(text: str, style: str = "") -> Text:
    return Text(as_text(text), style=style)


def _length(text: str) -> int:
    return cell_len(as_text(text))
