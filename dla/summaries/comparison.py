"""Two sweeps over the same prompts, prompt by prompt."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal, final

import numpy as np
import pandas as pd
from rich.console import Console, ConsoleOptions
from rich.table import Table

from dla.summaries.about import About
from dla.summaries.asked import check_asked, check_pairs
from dla.summaries.extremes import Example
from dla.summaries.frames import parts_frame, sums_frame
from dla.summaries.gather import Pairing
from dla.summaries.group_by import GroupBy
from dla.summaries.intervals import Interval, NormalInterval
from dla.summaries.ranking import examples, ranked
from dla.summaries.reading import read_rows
from dla.summaries.tables import compared_grid
from dla.summaries.tally import RowBatch, SummarySettings, Tallies, Tally, merged, tallies_of, together
from dla.sweeps import PartOf, open_sweep
from dla.views.grid import Grid


@final
@dataclass(frozen=True, eq=False)
class Comparison:
    """The differences of two sweeps on the prompts that both have: the first minus the second.

    Differences of pairs are surer than the difference of two means: what both sweeps find hard, or easy, drops out.

    Attributes:
        about: The parts that both have, and the sweeps.
        other: What the second is of.
        pairs: How many prompts both have, the same text in the same row of the corpus.
        unpaired: How many prompts only the first has, and only the second.
        settings: The groups of the first, and how much is kept.
        differences: The differences, for each group.
        both: The values of either.
    """

    about: About
    other: About
    pairs: int
    unpaired: tuple[int, int]
    settings: SummarySettings = field(repr=False)
    differences: Tallies = field(repr=False)
    both: tuple[Tallies, Tallies] = field(repr=False)

    @property
    def labels(self) -> list[str]:
        """The labels of the parts that both have."""
        return self.about.labels

    def top(self, k: int = 5, *, by: Literal["value", "abs"] = "value") -> list[tuple[str, float]]:
        """The `k` parts that the first has most more of, on the mean, or with `by="abs"` that differ most."""
        return ranked(self.about, self._together(), k, by)

    def bottom(self, k: int = 5, *, by: Literal["value", "abs"] = "value") -> list[tuple[str, float]]:
        """The `k` parts that the first has most less of, on the mean, or with `by="abs"` that differ least."""
        return ranked(self.about, self._together(), k, by, largest=False)

    def top_prompts(self, label: str, k: int = 5) -> list[Example]:
        """The prompts on which the first exceeds the second most in a part, or in a sum such as "logit"."""
        return examples(self.about.place(label), self._together(), k, 0)

    def bottom_prompts(self, label: str, k: int = 5) -> list[Example]:
        """The prompts on which the first falls short of the second most."""
        return examples(self.about.place(label), self._together(), k, 1)

    def to_dataframe(self, interval: Interval = NormalInterval()) -> pd.DataFrame:  # noqa: B008 - it is immutable
        """One row for each group and part: the means of both, and the mean difference with its interval."""
        names, parts = self.settings.split.names, self.about.parts
        either = [parts_frame(one, names, parts, NormalInterval()) for one in self.both]
        return _with_both(parts_frame(self.differences, names, parts, interval), *either)

    def sums(self, interval: Interval = NormalInterval()) -> pd.DataFrame:  # noqa: B008 - it is immutable
        """The same of what the parts add up to, and of the models' own logits."""
        names, n_parts = self.settings.split.names, len(self.about.parts)
        either = [sums_frame(one, names, n_parts, NormalInterval()) for one in self.both]
        return _with_both(sums_frame(self.differences, names, n_parts, interval), *either)

    def table(self, shown: int = 10, interval: Interval = NormalInterval()) -> Table:  # noqa: B008 - as above
        """The table that is printed, with at most `shown` parts at each end."""
        return self._grid(shown, interval).rich()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        yield self.table()

    def __str__(self) -> str:
        console = Console(width=100, no_color=True, highlight=False)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    def __repr__(self) -> str:
        return (
            f"Comparison({self.about.name} - {self.other.name}, {self.pairs} prompts of both, {len(self.labels)} parts)"
        )

    def _repr_html_(self) -> str:
        return self._grid(10, NormalInterval()).html()

    def _together(self) -> Tally:
        return together(self.differences, Tally.empty(self.about.measures, self.settings))

    def _grid(self, shown: int, interval: Interval) -> Grid:
        names = self.about.name, self.other.name
        what = names[0] if names[0] == names[1] else f"{names[0]} minus {names[1]}"
        alone = f"; {self.unpaired[0]} and {self.unpaired[1]} prompts have no partner" if any(self.unpaired) else ""
        whole = self._overall()
        frames = whole.to_dataframe(interval), whole.sums(interval)
        return compared_grid(f"{what}, {self.pairs} pairs{alone}", frames, self.about, shown, interval.level)

    def _overall(self) -> "Comparison":
        settings = replace(self.settings, split=GroupBy.by(None))
        empty = Tally.empty(self.about.measures, replace(settings, bootstrap=0, top_k=0))
        first, second = (together(one, empty) for one in self.both)
        both: tuple[Tallies, Tallies] = {(): first}, {(): second}
        return replace(self, settings=settings, differences={(): self._together()}, both=both)


def compared(first: About, second: About, settings: SummarySettings) -> Comparison:
    """Reads the shards of both once more, in step.

    Args:
        first: What the first summary is of.
        second: What the second is of.
        settings: The groups, and how much is kept.

    Raises:
        ValueError: If they have no part in common, or no prompt, or ask different questions.
        FileFormatError: If a folder is not there any more.
    """
    check_asked(first, second)
    parts = _common(first, second)
    labels = [part.label for part in parts]
    kept = replace(settings, bootstrap=0, top_k=0)
    differences: Tallies = {}
    both: tuple[Tallies, Tallies] = {}, {}
    pairing = Pairing(_read(first, labels), _read(second, labels))
    for pair in pairing.pairs():
        check_pairs(pair, first, second)
        differences = merged(differences, tallies_of(pair.difference(), settings))
        told = RowBatch(pair.first.prompts, pair.second.values)
        both = merged(both[0], tallies_of(pair.first, kept)), merged(both[1], tallies_of(told, kept))
    if not differences:
        raise ValueError(
            f"The sweeps in {', '.join(first.folders)} and {', '.join(second.folders)} have no prompt in common: none "
            "has the same text in the same row. Differences are taken prompt by prompt; sweep the same corpus twice."
        )
    count = sum(tally.moments.count for tally in differences.values())
    about = replace(first, parts=parts, complete=first.complete and second.complete)
    return Comparison(about, second, count, pairing.waiting, settings, differences, both)


def _common(first: About, second: About) -> tuple[PartOf, ...]:
    """The parts that both have, in the order of the first."""
    parts = tuple(part for part in first.parts if part.label in set(second.labels))
    if not parts:
        raise ValueError(
            f"{first.decomposer} on {first.model!r} and {second.decomposer} on {second.model!r} have no part in common "
            f"({', '.join(first.labels[:3])}, ... and {', '.join(second.labels[:3])}, ...). Sweep with one decomposer."
        )
    return parts


def _read(about: About, labels: Sequence[str]) -> Iterable[RowBatch]:
    return chain.from_iterable(read_rows(open_sweep(folder), labels) for folder in about.folders)


def _with_both(difference: pd.DataFrame, first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    place = int(np.flatnonzero(difference.columns == "mean")[0])
    difference.insert(place, "first", first["mean"])
    difference.insert(place + 1, "second", second["mean"])
    return difference
