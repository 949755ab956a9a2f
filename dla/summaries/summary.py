"""A summary of a sweep: what each part contributes on average, how sure that is, and where it contributes most."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd

from dla.inputs.arguments import file_path
from dla.inputs.given import Count, count, shown, whole_number
from dla.results.label_index import Kind, Labels, Layer, chosen
from dla.summaries.comparison import Comparison, compared
from dla.summaries.files import read_summary, write_summary
from dla.summaries.frames import statistics_frame
from dla.summaries.group_by import By, Group, GroupBy
from dla.summaries.intervals import Interval
from dla.summaries.page import WITH_EXAMPLES, page_of_groups
from dla.summaries.plots import Groups, SummaryPlots
from dla.summaries.row_batches import Plain, read_rows
from dla.summaries.stability import Stability
from dla.summaries.statistics import USUAL_INTERVAL, GroupStatistics, check_interval
from dla.summaries.subject import SUM_MEASURES, SummarySubject
from dla.summaries.tables import GROUP_ROWS, grouped_grid, many_groups_grid, plain_grid
from dla.summaries.tally import SummarySettings, Tallies, merge_tallies, rows_seen_twice, sorted_groups, tally_rows
from dla.sweeps import PartOf, open_sweep
from dla.text import as_text, shortened
from dla.views.endings import check_target
from dla.views.grid import Grid
from dla.views.page.document import write_page

_PLAIN = {str, int, float, bool, type(None)}
_EXAMPLES = 3  # prompts at each end of a part, on a page
_COLUMNS = 2  # with more groups than that a table has a row for each


@final
@dataclass(frozen=True, eq=False)
class Summary(GroupStatistics):
    """What one pass over a sweep keeps of it, for each part and, if asked for, for each group of prompts.

    Two summaries of different rows can be merged, so a corpus may be swept and summarised in pieces, on several
    machines. What is kept does not grow with the corpus. Every number is in logits and was added up in float64.
    """

    @classmethod
    def load(
        cls, folder: str | Path, by: By = None, *, top_k: Count = 10, bootstrap: Count = 0, seed: int = 0
    ) -> "Summary":
        """Summarises what `dla.sweep` wrote, in one pass over its shards.

        Args:
            folder: The sweep's folder, complete or not.
            by: Splits the prompts: a column of the corpus, several of them, or names with a column or a function each;
                a function takes a data frame with some of the prompts, and gives a column.
            top_k: How many prompts to keep at each end of each part.
            bootstrap: How many bootstrap replicates to keep, for `BootstrapInterval`; 1000 is usual.
            seed: Which half a prompt belongs to, and how often it is drawn in each replicate.

        Raises:
            FileFormatError: If it is no sweep's folder, or a file of it is damaged.
            TypeError: If a number is not a whole number.
            ValueError: If there is no such column, or a number is less than 0, or so large that memory would not do.
        """
        numbers = count(top_k, "top_k", "prompts", least=0), count(bootstrap, "bootstrap", "replicates", least=0)
        settings, opened = SummarySettings(GroupBy.by(by), *numbers, _seed(seed)), open_sweep(folder)
        settings.check_size(len(opened.parts) + len(SUM_MEASURES))
        settings.split.check(opened.columns)
        return cls(SummarySubject.of(opened), settings, tally_rows(read_rows(opened), settings))

    @classmethod
    def read(cls, file: str | Path) -> "Summary":
        """Reads a summary that `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            FileFormatError: If it is no summary, or was cut short.
        """
        return cls(*read_summary(file_path(file, "the file")))

    def save(self, file: str | Path) -> None:
        """Writes all that is kept to one JSON file. The file appears whole or not at all.

        Raises:
            ValueError: If the name has the ending of another format, such as `.csv`; says what writes that.
            OSError: If there is no such folder, or the file cannot be written there.
        """
        path = file_path(file, "the file")
        check_target(path, (".json",), "JSON")
        write_summary(path, self.about, self.settings, self.tallies)

    @property
    def groups(self) -> list[Group]:
        """The groups of which there are prompts, each the values of the columns that they are split by."""
        return sorted_groups(self.tallies)

    def group(self, *values: Plain) -> "Summary":
        """One group of the prompts.

        Args:
            values: The value of each column that the prompts are split by.

        Raises:
            ValueError: If there is no such group.
        """
        if not set(map(type, values)) <= _PLAIN or values not in self.tallies:
            some = "; ".join(shortened(self.settings.split.title(group)) for group in self.groups[:6])
            raise ValueError(f"There is no group {shown(values)}. The groups are {some or 'none: pass `by` to load'}.")
        return replace(self, tallies={values: self.tallies[values]})

    def overall(self) -> "Summary":
        """All prompts, not split."""
        settings = replace(self.settings, split=GroupBy.by(None))
        return replace(self, settings=settings, tallies={(): self._overall()})

    def merge(self, other: "Summary") -> "Summary":
        """The summary of the prompts of both: what one pass over both would have given.

        Raises:
            ValueError: If they are of different models or parts, were made with different settings, or are seen to
                share prompts, which would count twice.
            TypeError: If the other is no summary.
        """
        _check_summary(other)
        about = self.about.merge(other.about)
        mine, yours = ({"by": one.split.names, **vars(one)} for one in (self.settings, other.settings))
        for name in ("by", "top_k", "bootstrap", "seed"):
            one, two = mine[name], yours[name]
            if one != two:
                raise ValueError(f"One summary was made with {name}={one!r}, the other with {two!r}. Use one for both.")
        twice = rows_seen_twice(self.tallies, other.tallies)
        if twice:
            raise ValueError(
                f"Both summaries hold the same {twice} prompts, or more, which would count twice. Merge summaries of "
                "different rows; to set two sweeps of one corpus side by side, use compare."
            )
        return Summary(about, self.settings, merge_tallies(self.tallies, other.tallies))

    def select(
        self,
        label: Labels = None,
        *,
        kind: Kind = None,
        layer: Layer = None,
        where: Callable[[PartOf], bool] | None = None,
    ) -> "Summary":
        """Only some of the parts. The sums below the table still speak of all of them.

        Args:
            label: A label or several.
            kind: A kind, such as "head".
            layer: A layer.
            where: Says of each part whether to keep it.

        Raises:
            TypeError: If something else is asked for.
            ValueError: If no part is left, or a label does not exist.
        """
        parts = self.about.parts
        keep = chosen(parts, {"label": label, "kind": kind, "layer": layer}, self.about.places, where)
        measures = np.array([*keep, *range(len(parts), self.about.n_measures)], dtype=np.int64)
        return replace(
            self,
            about=replace(self.about, parts=tuple(parts[i] for i in keep)),
            tallies={group: tally.select(measures) for group, tally in self.tallies.items()},
        )

    def stability(self, k: Count = 5) -> Stability:
        """How alike the parts rank in two halves of the prompts, and how many of the top `k` both share.

        A prompt's half depends on the prompt and the seed alone.

        Raises:
            TypeError: If `k` is not a whole number.
            ValueError: If there is no prompt, or `k` is not a number of parts.
        """
        return Stability.of(self._overall_of_some(), len(self.labels), k)

    def compare(self, other: "Summary") -> Comparison:
        """The differences between two sweeps on the prompts that both have, the same text in the same row.

        Both sweeps must have asked the same of these prompts: the same tokens, at the same position. The model, its
        weights, its hooks and the decomposer may differ. The means of sweeps over other prompts are not compared:
        prompts differ far more than models do. Both folders are read once more, in step. A row waits in memory until
        it is read of the other sweep too.

        Args:
            other: The summary whose sweep is subtracted: of another model, other weights, another decomposer.

        Raises:
            ValueError: If they have no part in common, or no prompt, or ask different questions.
            TypeError: If the other is no summary.
            FileFormatError: If a folder is not there any more.
        """
        _check_summary(other)
        for one in (self, other):
            one._overall_of_some()
        return compared(self.about, other.about, self.settings)

    @property
    def plot(self) -> SummaryPlots:
        """Figures of the means: `plot()` picks one; `plot.heads`, `plot.bars` and `plot.svg` by name."""
        return SummaryPlots(self._title(), self.overall()._title(), self.about, self._plotted)

    def _plotted(self, interval: Interval) -> Groups:
        """What plots show: all prompts, then the groups, if there are several."""
        self._overall_of_some()
        return [("all", self.overall()._numbers(interval)), *self._several(interval)]

    def _several(self, interval: Interval) -> Groups:
        return self._group_numbers(interval) if len(self.tallies) > 1 else []

    def report(self, path: str | Path, interval: Interval = USUAL_INTERVAL) -> None:
        """Writes a page to explore: one HTML file, which needs no network. It appears whole or not at all.

        Args:
            path: The file.
            interval: How sure the means are.

        Raises:
            ValueError: If there is no prompt, or the name has another ending.
            OSError: If there is no such folder, or the file cannot be written there.
        """
        file = file_path(path, "the file")
        check_interval(interval)
        overall = self._overall_of_some()
        strongest = np.argsort(-np.abs(overall.moments.mean[: len(self.labels)]), kind="stable")[:WITH_EXAMPLES]
        kept = min(_EXAMPLES, self.settings.top_k)
        examples = {
            i: [(e.prompt, e.value) for end in (0, 1) for e in overall.extremes.prompts(i, end, kept)]
            for i in (strongest.tolist() if kept else [])
        }
        data = page_of_groups(self._title(), self.about, self._plotted(interval), examples, interval.level)
        write_page(file, data, self._repr_html_())

    def __repr__(self) -> str:
        return f"Summary({as_text(self._title())}, {len(self.labels)} parts)"

    def _numbers(self, interval: Interval) -> pd.DataFrame:
        names = self.settings.split.names
        # a folder without prompts has its parts all the same
        tallies: Tallies = self.tallies if self.tallies or names else {(): self._overall()}
        return statistics_frame(tallies, names, self.about.parts, interval)

    def _group_numbers(self, interval: Interval) -> list[tuple[str, pd.DataFrame]]:
        """The numbers of each group, with its name."""
        numbers, n = self._numbers(interval), self.about.n_measures
        names = (", ".join(map(str, group)) for group in self.groups)
        return [(name, numbers[i * n : (i + 1) * n].reset_index(drop=True)) for i, name in enumerate(names)]

    def _largest(self, n: int, interval: Interval) -> list[tuple[str, pd.DataFrame]]:
        """The numbers of all groups, or, where there are more than `n`, of the largest, largest first."""
        if len(self.tallies) <= n:
            return self._group_numbers(interval)
        groups = sorted(self.groups, key=lambda group: -self.tallies[group].count)[:n]
        some = replace(self, tallies={group: self.tallies[group] for group in groups})
        return sorted(some._group_numbers(interval), key=lambda each: -each[1]["count"].iloc[0])

    def _title(self) -> str:
        split = self.settings.split
        if not self.count:
            return f"{self.about.name}: no prompt was kept"
        title = f"{self.about.name}, mean over {self.count} prompts"
        if len(self.tallies) > 1:
            return f"{title}, by {' and '.join(split.names)}"
        return f"{title} with {split.title(self.groups[0])}" if split.names else title

    def _grid(self, shown: int, interval: Interval) -> Grid:
        if not self.count:
            return Grid(self._title(), ("mean",), ((),), self.about.nothing())
        overall = self.overall()._numbers(interval)
        if len(self.tallies) < 2:
            return plain_grid(self._title(), overall, self.about, shown, interval.level)
        groups = [("all", overall), *self._largest(GROUP_ROWS, interval)]
        if len(self.tallies) > _COLUMNS:
            return many_groups_grid(self._title(), groups, self.about, shown, len(self.tallies))
        return grouped_grid(self._title(), groups, self.about, shown, interval.level)


def _check_summary(other: object) -> None:
    if not isinstance(other, Summary):
        raise TypeError(f"{shown(other)} is no Summary, but of type {type(other).__name__}. Pass Summary.load(folder).")


def _seed(seed: object) -> int:
    number = whole_number(seed)
    if number is None:
        raise TypeError(f"seed={shown(seed)} is not a whole number. Pass one, such as 0.")
    if abs(number) >= 2**63:
        raise ValueError(f"seed={shown(seed)} has more than 64 bits. Pass a smaller number, such as 0.")
    return number
