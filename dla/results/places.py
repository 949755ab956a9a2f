"""An attribution prompt by prompt and position by position, and not only its mean."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from rich.console import Console, ConsoleOptions
from rich.table import Table

from dla.inputs.given import Count, count
from dla.results.attributed import AttributedRows
from dla.text import shortened
from dla.views.dataset import frame_of_columns
from dla.views.grid import Grid, Line, printed, signed
from dla.views.plots.rows import PlotRows

if TYPE_CHECKING:
    import pandas

_LONGEST = 30
"""How many characters of a token's name a line shows."""


@final
@dataclass(frozen=True, eq=False)
class Places:
    """What was asked at each position of each prompt, and the parts that matter most there. Prints as a table.

    Attributes:
        rows: The result's numbers at each place.
        following: The token that follows each place in its prompt; empty where none does.
        asked: The token of each direction at each place, where the directions' names do not say it.
        parts: How many parts a line names.
    """

    rows: PlotRows
    following: tuple[str, ...]
    asked: tuple[tuple[str, ...], ...]
    parts: int

    @staticmethod
    def of(result: AttributedRows, parts: Count = 3) -> "Places":
        """The places of a result.

        Args:
            result: The result.
            parts: How many parts a line names, those with the largest values of either sign in the first direction.

        Raises:
            TypeError: If `parts` is not a whole number.
            ValueError: If it is negative.
        """
        rows = PlotRows.of(result)
        ends = (
            rows.tokens[prompt][position + 1] if rows.tokens and position + 1 < len(rows.tokens[prompt]) else ""
            for prompt, position in rows.places
        )
        there = (result.positions.flatten() >= 0).tolist()
        asked = tuple(tuple(itertools.compress(tokens, there)) for tokens in result.provenance.asked)
        return Places(rows, tuple(ends), asked, count(parts, "parts", "parts", least=0))

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row for each place: prompt, position, its token, the one that follows, and each direction's logit."""
        prompts, positions = zip(*self.rows.places, strict=True)
        known = self.rows.tokens
        columns = {
            "batch": prompts,
            "position": positions,
            "token": [known[prompt][position] if known else "" for prompt, position in self.rows.places],
            "following": self.following,
        }
        names = self.rows.directions if len(self.rows.directions) > 1 else ("logit",)
        tokens = {f"{name} token": each for name, each in zip(names, self.asked, strict=False)}
        return frame_of_columns({**columns, **tokens, **dict(zip(names, self.rows.logit.tolist(), strict=True))})

    def table(self) -> Table:
        """The table that is printed."""
        return self._grid().rich()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        yield self._grid().rich(options.max_width)

    def __str__(self) -> str:
        return printed(self)

    def _repr_html_(self) -> str:
        return self._grid().html()

    def _grid(self) -> Grid:
        rows = self.rows
        several = len(rows.directions) > 1
        names = tuple(shortened(name) for name in rows.directions) if several else ("logit",)
        lines = [
            (self._name(i, place), *(self._logit(j, i) for j in range(len(rows.directions))), self._strongest(i))
            for i, place in enumerate(rows.place_names())
        ]
        note = f"Parts are named by their size for {names[0]}." if several else ""
        header = (*names, "strongest")
        section = tuple(Line(label, tuple(cells)) for label, *cells in lines)
        return Grid(rows.title, header, (section,), note, rows="position", words=("strongest",))

    def _name(self, i: int, place: str) -> str:
        after = self.following[i]
        return shortened(place, _LONGEST) + (f" → {shortened(repr(after), _LONGEST)}" if after else "")

    def _logit(self, direction: int, i: int) -> str:
        logit = signed(float(self.rows.logit[direction, i]))
        return f"{shortened(repr(self.asked[direction][i]), _LONGEST)} {logit}" if self.asked else logit

    def _strongest(self, i: int) -> str:
        values = torch.from_numpy(self.rows.values[0, i]).nan_to_num()
        best = values.abs().argsort(descending=True, stable=True)[: self.parts].tolist()
        return ", ".join(f"{self.rows.parts[j]} {float(values[j]):+.2f}" for j in best)
