"""What the model itself says where it was asked."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING, final

from rich.console import Console, ConsoleOptions
from rich.table import Table

from dla.provenance import Saying
from dla.results.attributed import AttributedRows
from dla.text import shortened
from dla.views.dataset import frame_of_columns
from dla.views.grid import Grid, printed
from dla.views.plots.rows import PlotRows

if TYPE_CHECKING:
    import pandas

_SHOWN = 3
"""How many tokens the line below a table tells of those asked about, and of the model's own."""


@final
@dataclass(frozen=True, eq=False)
class Answers:
    """How likely the tokens are that were asked about, and the model's own first answers. Prints as a table.

    Attributes:
        places: The names of the places.
        asked: At each place the tokens asked about, with log-probability and rank; after them the same words with or
            without a space in front, where these are tokens of a probability of at least one per cent.
        first: At each place the model's first answers.
    """

    places: tuple[str, ...]
    asked: tuple[tuple[Saying, ...], ...]
    first: tuple[tuple[Saying, ...], ...]

    @staticmethod
    def of(result: AttributedRows) -> "Answers":
        """What the model said for a result.

        Raises:
            ValueError: If its whole prediction was not looked at.
        """
        provenance = result.provenance
        if not provenance.first:
            raise ValueError(
                "What the model answers was not looked at: the result is about many positions, or their sum, or "
                "a trace, or its logits are not known. Ask about fewer positions, or for TopTokens."
            )
        there = (result.positions.flatten() >= 0).tolist()
        own = [known for known, kept in zip(provenance.said, there, strict=True) if kept]
        first = [known for known, kept in zip(provenance.first, there, strict=True) if kept]
        return Answers(tuple(PlotRows.of(result).place_names()), tuple(own), tuple(first))

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row for each place and token: `asked` says whether it was asked about, or is an answer of the model's."""
        rows = [
            (place, asked, *saying)
            for place, own, first in zip(self.places, self.asked, self.first, strict=True)
            for asked, several in ((True, own), (False, first))
            for saying in several
        ]
        names = ("place", "asked", "token", "log_probability", "rank")
        return frame_of_columns({name: [row[i] for row in rows] for i, name in enumerate(names)})

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
        rows = [
            (
                place if i == 0 else "",
                _asked(own[i]) if i < len(own) else "",
                _answer(first[i]) if i < len(first) else "",
            )
            for place, own, first in zip(self.places, self.asked, self.first, strict=True)
            for i in range(max(len(own), len(first)))
        ]
        header = ("position", "asked about", "its first answers")
        return Grid.of_rows("What the model says", header, rows, words=header[1:])


def answers_in_short(result: AttributedRows) -> str:
    """What stands below a table: how likely the tokens are that were asked about, and the model's own first answers.

    Empty where the model's whole prediction was not looked at.
    """
    there, provenance = (result.positions.flatten() >= 0).tolist(), result.provenance
    own = list(itertools.compress(provenance.said, there))
    if not provenance.first or not own:
        return ""
    if len(own) == 1:
        (first,) = itertools.compress(provenance.first, there)
        asked = [f"{shortened(repr(token))} {exp(log):.2%}, rank {rank}" for token, log, rank in own[0]]
        own_first = ", ".join(map(_answer, first[:_SHOWN]))
        return f"The model: {'; '.join([*asked[:_SHOWN], 'its first answers'])} {own_first}."
    best = [sayings[0] for sayings in own if sayings]
    if len(best) < len(own):
        return ""
    logs, leading = [log for _, log, _ in best], sum(rank == 1 for *_, rank in best)
    reach = f"probabilities from {exp(min(logs)):.2%} to {exp(max(logs)):.2%}"
    if provenance.summed and len(provenance.tokens) == 1:
        return f"The model: the answer {exp(sum(logs)):.2%}, {leading} of its {len(best)} tokens with rank 1; {reach}."
    return f"The model: the token asked about first has rank 1 at {leading} of {len(best)} places; {reach}."


def _asked(saying: Saying) -> str:
    token, log, rank = saying
    return f"{token!r} {exp(log):.2%} (log {log:.2f}), rank {rank}"


def _answer(saying: Saying) -> str:
    return f"{saying[0]!r} {exp(saying[1]):.2%}"
