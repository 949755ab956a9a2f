"""What results have alike that print as a table, or as one for each of several directions."""

import abc
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.console import Console, ConsoleOptions, Group
from rich.table import Table

from dla.inputs.given import Count, count
from dla.views.grid import Grid, printed
from dla.views.grid_html import folded_html


class TablePerDirection(abc.ABC):
    """A result that prints as a table: `table`, `print` and a notebook all show what `_grid` gives.

    Law: `_grid` gives the table of a result of one direction, and raises a ValueError for one of several.
    """

    _shown: int = 20
    """How many rows are shown, if nobody says."""

    @property
    @abc.abstractmethod
    def directions(self) -> Sequence[str]:
        """The names of several directions; empty for one."""

    @abc.abstractmethod
    def direction(self, name: str) -> "TablePerDirection":
        """The same of one of several directions."""

    @abc.abstractmethod
    def _grid(self, shown: int) -> Grid:
        """The table, with so many rows."""

    def table(self, shown: Count | None = None) -> Table:
        """The table that is printed.

        Args:
            shown: How many rows at most, the first that are printed (of an attribution at each end); None for as many
                as `print` shows.

        Raises:
            TypeError: If `shown` is not a whole number.
            ValueError: If it is negative, or several directions were asked for.
        """
        return self._grid(self._shown if shown is None else count(shown, "shown", "rows", least=0)).rich()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Group]:
        yield Group(*(grid.rich(options.max_width) for grid in self._grids(noted=-1)))

    def __str__(self) -> str:
        return printed(self)

    def _repr_html_(self) -> str:
        return folded_html([grid.html() for grid in self._grids(noted=0)], self.directions)

    def _grids(self, noted: int) -> list[Grid]:
        """A table for each direction; a note that all of them have stands below one only."""
        grids = [one._grid(one._shown) for one in [self.direction(name) for name in self.directions] or [self]]
        own = grids[noted]
        return [grid if grid is own or grid.note != own.note else replace(grid, note="") for grid in grids]
