"""A summary of a sweep: what each part contributes on average, how sure that is, and where it contributes most."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import pandas as pd
from rich.console import Console, ConsoleOptions
from rich.table import Table

from dla.results.label_index import Kind, Labels, Layer, OneLabel
from dla.summaries.about import About, about
from dla.summaries.comparison import Comparison, compared
from dla.summaries.extremes import Example
from dla.summaries.files import read_summary, write_summary
from dla.summaries.frames import parts_frame, sums_frame
from dla.summaries.gather import gather
from dla.summaries.group_by import By, Group, GroupBy, title_of
from dla.summaries.intervals import Interval, NormalInterval
from dla.summaries.plots import figure_of
from dla.summaries.ranking import check_any, examples, ranked
from dla.summaries.reading import read_rows
from dla.summaries.stability import Stability, stability_of
from dla.summaries.tables import empty_grid, grouped_grid, plain_grid
from dla.summaries.tally import SummarySettings, Tallies, Tally, common_rows, in_order, merged, together
from dla.sweeps import PartOf, open_sweep
from dla.views.endings import check_target
from dla.views.grid import Grid

SHOWN = 10
"""How many rows a printed table shows at each end."""


@final
@dataclass(frozen=True, eq=False)
class Summary:
    """What one pass over a sweep keeps of it, for each part and, if asked for, for each group of prompts.

    Two summaries of different rows can be merged, so a corpus may be swept and summarised in pieces, on several
    machines. What is kept does not grow with the corpus. Every number is in logits and was added up in float64.

    Attributes:
        about: The model, the parts and the corpora.
        settings: The groups, and how much is kept.
        tallies: The numbers, for each group.
    """

    about: About
    settings: SummarySettings = field(repr=False)
    tallies: Tallies = field(repr=False)

    @classmethod
    def load(
        cls, folder: str | Path, by: By = None, *, top_k: int = 10, bootstrap: int = 0, seed: int = 0
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
            ValueError: If there is no such column.
        """
        settings, opened = SummarySettings(GroupBy.by(by), top_k, bootstrap, seed), open_sweep(folder)
        settings.split.check(opened.columns)
        return cls(about(opened), settings, gather(read_rows(opened), settings))

    @classmethod
    def read(cls, file: str | Path) -> "Summary":
        """Reads a summary that `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            FileFormatError: If it is no summary, or was cut short.
        """
        return cls(*read_summary(Path(file)))

    def save(self, file: str | Path) -> None:
        """Writes all that is kept to one JSON file. The file appears whole or not at all.

        Raises:
            ValueError: If the name has the ending of another format, such as `.csv`; says what writes that.
            OSError: If there is no such folder, or the file cannot be written there.
        """
        check_target(Path(file), (".json",), "JSON")
        write_summary(Path(file), self.about, self.settings, self.tallies)

    @property
    def labels(self) -> list[str]:
        """The parts' labels."""
        return self.about.labels

    @property
    def count(self) -> int:
        """How many prompts were summarised."""
        return sum(tally.moments.count for tally in self.tallies.values())

    @property
    def groups(self) -> list[Group]:
        """The groups of which there are prompts, each the values of the columns that they are split by."""
        return in_order(self.tallies)

    def group(self, *values: str | int | float | bool | None) -> "Summary":
        """One group of the prompts.

        Args:
            values: The value of each column that the prompts are split by.

        Raises:
            ValueError: If there is no such group.
        """
        if values not in self.tallies:
            some = "; ".join(title_of(self.settings.split.names, group) for group in self.groups[:6])
            raise ValueError(f"There is no group {values}. The groups are {some or 'none: pass `by` to load'}.")
        return replace(self, tallies={values: self.tallies[values]})

    def overall(self) -> "Summary":
        """All prompts, not split."""
        settings = replace(self.settings, split=GroupBy.by(None))
        return replace(self, settings=settings, tallies={(): self._together()})

    def merge(self, other: "Summary") -> "Summary":
        """The summary of the prompts of both: what one pass over both would have given.

        Raises:
            ValueError: If they are of different models or parts, were made with different settings, or are seen to
                share prompts, which would count twice.
        """
        _check_summary(other)
        merged_about = self.about.merge(other.about)
        for name in ("top_k", "bootstrap", "seed"):
            self._check_alike(name, getattr(self.settings, name), getattr(other.settings, name))
        self._check_alike("by", self.settings.split.names, other.settings.split.names)
        twice = common_rows(self.tallies, other.tallies)
        if twice:
            raise ValueError(
                f"Both summaries hold the same {twice} prompts, or more, which would count twice. Merge summaries of "
                "different rows; to set two sweeps of one corpus side by side, use compare."
            )
        return Summary(merged_about, self.settings, merged(self.tallies, other.tallies))

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
        keep, parts = self.about.places(label, kind, layer, where), self.about.parts
        measures = np.array([*keep, *range(len(parts), self.about.measures)], dtype=np.int64)
        return replace(
            self,
            about=replace(self.about, parts=tuple(parts[i] for i in keep)),
            tallies={group: tally.select(measures) for group, tally in self.tallies.items()},
        )

    def top(self, k: int = 5, *, by: Literal["value", "abs"] = "value") -> list[tuple[str, float]]:
        """The `k` parts with the largest mean over all prompts, or with `by="abs"` the largest of either sign."""
        return ranked(self.about, self._together(), k, by)

    def bottom(self, k: int = 5, *, by: Literal["value", "abs"] = "value") -> list[tuple[str, float]]:
        """The `k` parts with the smallest mean, or with `by="abs"` the mean nearest to zero."""
        return ranked(self.about, self._together(), k, by, largest=False)

    def top_prompts(self, label: OneLabel, k: int = 5) -> list[Example]:
        """The prompts on which a part, or one of the sums such as "logit", is largest; the largest first.

        Raises:
            ValueError: If there is no such part, or fewer prompts were kept.
        """
        return examples(self.about.place(label), self._together(), k, 0)

    def bottom_prompts(self, label: OneLabel, k: int = 5) -> list[Example]:
        """The prompts on which a part, or one of the sums, is smallest; the smallest first."""
        return examples(self.about.place(label), self._together(), k, 1)

    def stability(self, k: int = 5) -> Stability:
        """How alike the parts rank in two halves of the prompts, and how many of the top `k` both share.

        A prompt's half depends on the prompt and the seed alone.

        Raises:
            ValueError: If there is no prompt.
        """
        check_any(self.about, self._together())
        return stability_of(self._together(), len(self.about.parts), k)

    def compare(self, other: "Summary") -> Comparison:
        """The differences between two sweeps on the prompts that both have, the same text in the same row.

        Both sweeps must have asked the same of these prompts: the same tokens, at the same position. The model, its
        weights, its hooks and the decomposer may differ. The means of sweeps over other prompts are not compared:
        prompts differ far more than models do. Both folders are read once more, in step. A row waits in memory until
        the other sweep comes to it.

        Args:
            other: The summary whose sweep is subtracted: of another model, other weights, another decomposer.

        Raises:
            ValueError: If they have no part in common, or no prompt, or ask different questions.
            TypeError: If the other is no summary.
            FileFormatError: If a folder is not there any more.
        """
        _check_summary(other)
        for one in (self, other):
            check_any(one.about, one._together())
        return compared(self.about, other.about, self.settings)

    def to_dataframe(self, interval: Interval = NormalInterval()) -> pd.DataFrame:  # noqa: B008 - it is immutable
        """One row for each group and part: count, mean and its interval, variance, range, share of positive values."""
        return parts_frame(self._shown(), self.settings.split.names, self.about.parts, interval)

    def sums(self, interval: Interval = NormalInterval()) -> pd.DataFrame:  # noqa: B008 - it is immutable
        """The same of what the parts add up to, and of the model's own logit.

        The sums are `total`, `constant`, `logit`, `output_logit` and `gap` as in `Attribution`, and `misfit`, which is
        `|gap| / tolerance`: its largest value is the proof that the parts add up on every prompt.
        """
        return sums_frame(self._shown(), self.settings.split.names, len(self.about.parts), interval)

    def table(self, shown: int = SHOWN, interval: Interval = NormalInterval()) -> Table:  # noqa: B008 - as above
        """The table that is printed, with at most `shown` parts at each end."""
        return self._grid(shown, interval).rich()

    def plot(self, interval: Interval = NormalInterval()) -> Any:  # noqa: B008 - as above
        """A figure of plotly, the extra `plot`: heads as a map of layers and heads, other parts as bars with intervals.

        Groups stand beside each other, as bars. For a map of heads, ask for `summary.select(kind="head").overall()`.
        """
        check_any(self.about, self._together())
        frames = [(name, one.to_dataframe(interval)) for name, one in self._apart()]
        return figure_of(self._title(), frames)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        yield self.table()

    def __str__(self) -> str:
        console = Console(width=100, no_color=True, highlight=False)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    def __repr__(self) -> str:
        return f"Summary({self._title()}, {len(self.labels)} parts)"

    def _repr_html_(self) -> str:
        return self._grid(SHOWN, NormalInterval()).html()

    def _together(self) -> Tally:
        return together(self.tallies, Tally.empty(self.about.measures, self.settings))

    def _shown(self) -> Tallies:
        """The groups, or what an empty folder has of them."""
        return self.tallies if self.tallies or self.settings.split.names else {(): self._together()}

    def _check_alike(self, name: str, mine: object, yours: object) -> None:
        if mine != yours:
            raise ValueError(f"One summary was made with {name}={mine!r}, the other with {yours!r}. Use one for both.")

    def _apart(self) -> "list[tuple[str, Summary]]":
        """Each group by itself, with its name; all prompts, where they are not split."""
        if len(self.tallies) < 2:
            return [("all", self.overall())]
        return [(", ".join(map(str, group)), self.group(*group).overall()) for group in self.groups]

    def _title(self) -> str:
        names = self.settings.split.names
        if not self.count:
            return f"{self.about.name}: no prompt was kept"
        title = f"{self.about.name}, mean over {self.count} prompts"
        if len(self.tallies) > 1:
            return f"{title}, by {' and '.join(names)}"
        return title + (f" with {title_of(names, self.groups[0])}" if names and self.tallies else "")

    def _grid(self, shown: int, interval: Interval) -> Grid:
        whole = self.overall()
        frames = whole.to_dataframe(interval), whole.sums(interval)
        if not self.count:
            return empty_grid(self._title(), self.about)
        if len(self.tallies) < 2:
            return plain_grid(self._title(), frames, self.about, shown, interval.level)
        each = [(name, (one.to_dataframe(interval), one.sums(interval))) for name, one in self._apart()]
        return grouped_grid(self._title(), frames, each, self.about, shown, interval.level)


def _check_summary(other: Any) -> None:
    if not isinstance(other, Summary):
        raise TypeError(f"{other!r} is no Summary, but of type {type(other).__name__}. Pass Summary.load(folder).")
