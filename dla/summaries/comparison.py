"""Two sweeps over the same prompts, prompt by prompt."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import final

import pandas as pd

from dla.summaries.frames import statistics_frame
from dla.summaries.group_by import GroupBy
from dla.summaries.intervals import Interval
from dla.summaries.plots import SummaryPlots
from dla.summaries.row_batches import RowBatch, read_rows
from dla.summaries.row_pairs import RowPairing, check_directions, check_pairs, pair_difference
from dla.summaries.statistics import USUAL_INTERVAL, GroupStatistics
from dla.summaries.subject import SummarySubject
from dla.summaries.tables import compared_grid
from dla.summaries.tally import SummarySettings, Tallies, merge_tallies, overall_tally, tallies_of
from dla.sweeps import PartOf, open_sweep
from dla.text import as_text, some_of
from dla.views.grid import Grid


@final
@dataclass(frozen=True, eq=False)
class Comparison(GroupStatistics):
    """The differences of two sweeps on the prompts that both have: the first minus the second.

    Differences of pairs are surer than the difference of two means: what both sweeps find hard, or easy, drops out.
    `top` has the parts that the first has most more of, `top_prompts` the prompts on which it exceeds the second most.

    Attributes:
        about: The parts that both have, and the first sweep.
        settings: The groups of the first, and how much is kept.
        tallies: The numbers of the differences, for each group.
        both: Those of the values of either sweep.
        other: What the second is of.
        unpaired: How many prompts only the first has, and only the second.
    """

    both: tuple[Tallies, Tallies] = field(repr=False)
    other: SummarySubject
    unpaired: tuple[int, int]

    @property
    def pairs(self) -> int:
        """How many prompts both have, the same text in the same row of the corpus."""
        return self.count

    @property
    def plot(self) -> SummaryPlots:
        """Figures of the differences over all pairs; see `Summary.plot`."""
        title = f"{self.about.name} minus {self.other.name}, {self.pairs} pairs"
        return SummaryPlots(title, title, self.about, lambda interval: [("all", self._all_pairs()._numbers(interval))])

    def __repr__(self) -> str:
        names = f"{self.about.name} - {self.other.name}"
        return f"Comparison({as_text(names)}, {self.pairs} prompts of both, {len(self.labels)} parts)"

    def _numbers(self, interval: Interval) -> pd.DataFrame:
        names, parts = self.settings.split.names, self.about.parts
        numbers = statistics_frame(self.tallies, names, parts, interval)
        for name, tallies in zip(("first", "second"), self.both, strict=True):
            place = numbers.columns.tolist().index("mean")
            numbers.insert(place, name, statistics_frame(tallies, names, parts, USUAL_INTERVAL)["mean"])
        return numbers

    def _grid(self, shown: int, interval: Interval) -> Grid:
        names = self.about.name, self.other.name
        what = names[0] if names[0] == names[1] else f"{names[0]} minus {names[1]}"
        alone = f"; {self.unpaired[0]} and {self.unpaired[1]} prompts have no partner" if any(self.unpaired) else ""
        numbers = self._all_pairs()._numbers(interval)
        return compared_grid(f"{what}, {self.pairs} pairs{alone}", numbers, self.about, shown, interval.level)

    def _all_pairs(self) -> "Comparison":
        """The same, not split."""
        settings = replace(self.settings, split=GroupBy.by(None))
        first, second = (overall_tally(one, self.about.n_measures, _means_only(settings)) for one in self.both)
        both: tuple[Tallies, Tallies] = {(): first}, {(): second}
        return replace(self, settings=settings, tallies={(): self._overall()}, both=both)


def compared(first: SummarySubject, second: SummarySubject, settings: SummarySettings) -> Comparison:
    """Reads the shards of both once more, in step.

    Args:
        first: What the first summary is of.
        second: What the second is of.
        settings: The groups, and how much is kept.

    Raises:
        ValueError: If they have no part in common, or no prompt, or ask different questions.
        FileFormatError: If a folder is not there any more.
    """
    check_directions(first, second)
    parts = _common(first, second)
    differences: Tallies = {}
    both: tuple[Tallies, Tallies] = {}, {}
    pairing = RowPairing(_read(first, parts), _read(second, parts))
    for pair in pairing.pairs():
        check_pairs(pair, first, second)
        differences = merge_tallies(differences, tallies_of(pair_difference(*pair), settings))
        # the groups are those of the first
        either = (RowBatch(pair[0].prompts, rows.values) for rows in pair)
        one, other = (tallies_of(rows, _means_only(settings)) for rows in either)
        both = merge_tallies(both[0], one), merge_tallies(both[1], other)
    if not differences:
        raise ValueError(
            f"The sweeps in {some_of(first.folders)} and {some_of(second.folders)} have no prompt in common: none "
            "has the same text in the same row. Differences are taken prompt by prompt; sweep the same corpus twice."
        )
    about = replace(first, parts=parts, complete=first.complete and second.complete)
    return Comparison(about, settings, differences, both, second, pairing.waiting)


def _means_only(settings: SummarySettings) -> SummarySettings:
    return replace(settings, bootstrap=0, top_k=0)


def _common(first: SummarySubject, second: SummarySubject) -> tuple[PartOf, ...]:
    """The parts that both have, in the order of the first."""
    of_second = set(second.labels)
    parts = tuple(part for part in first.parts if part.label in of_second)
    if not parts:
        raise ValueError(
            f"{first.decomposer} on {first.model!r} and {second.decomposer} on {second.model!r} have no part in common "
            f"({some_of(first.labels, 3)}; and {some_of(second.labels, 3)}). Sweep with one decomposer."
        )
    return parts


def _read(about: SummarySubject, parts: Iterable[PartOf]) -> Iterable[RowBatch]:
    labels = [part.label for part in parts]
    return chain.from_iterable(read_rows(open_sweep(folder), labels) for folder in about.folders)
