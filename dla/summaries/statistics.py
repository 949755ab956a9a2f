"""What a summary and a comparison have in common."""

import abc
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from rich.console import Console, ConsoleOptions
from rich.table import Table

from dla.inputs.arguments import choice, instance
from dla.inputs.given import Count, count, shown
from dla.results.label_index import OneLabel
from dla.summaries.documents import summary_document
from dla.summaries.extremes import ExtremePrompt
from dla.summaries.frames import PART_COLUMNS
from dla.summaries.intervals import Interval, NormalInterval
from dla.summaries.subject import SummarySubject
from dla.summaries.tally import SummarySettings, Tallies, Tally, overall_tally
from dla.views.document import rows_written, strict_json
from dla.views.grid import Grid, printed

_SHOWN = 10  # how many parts a printed table shows at each end

USUAL_INTERVAL = NormalInterval()
"""The interval where no other is asked for."""


@dataclass(frozen=True, eq=False)
class GroupStatistics(abc.ABC):
    """Statistics of parts over the prompts of each group: ranked, as data frames, as a table.

    Attributes:
        about: The model, the parts and the corpora.
        settings: The groups, and how much is kept.
        tallies: The numbers, for each group.
    """

    about: SummarySubject
    settings: SummarySettings = field(repr=False)
    tallies: Tallies = field(repr=False)

    @abc.abstractmethod
    def _numbers(self, interval: Interval) -> pd.DataFrame:
        """The `statistics_frame` of the groups, with the columns that this kind of statistics has besides."""

    @abc.abstractmethod
    def _grid(self, shown: int, interval: Interval) -> Grid:
        """The table, with at most `shown` parts at each end."""

    @property
    def labels(self) -> list[str]:
        """The parts' labels."""
        return self.about.labels

    @property
    def count(self) -> int:
        """How many prompts there are, or pairs of them."""
        return sum(tally.count for tally in self.tallies.values())

    def top(self, k: Count = 5, *, by: str = "value") -> list[tuple[str, float]]:
        """The `k` parts with the largest mean over all prompts, or with `by="abs"` the largest of either sign.

        Raises:
            TypeError: If `k` is not a whole number.
            ValueError: If there is no prompt, `k` is less than one, or `by` is something else.
        """
        return self._ranked(k, by, -1)

    def bottom(self, k: Count = 5, *, by: str = "value") -> list[tuple[str, float]]:
        """The `k` parts with the smallest mean, or with `by="abs"` the mean nearest to zero; raises as `top` does."""
        return self._ranked(k, by, 1)

    def top_prompts(self, label: OneLabel, k: Count = 5) -> list[ExtremePrompt]:
        """The prompts on which a part, or one of the sums such as "logit", is largest; the largest first.

        Raises:
            TypeError: If the label is no text, or `k` not a whole number.
            ValueError: If there is no such part, or fewer prompts were kept.
        """
        return self._prompts(label, k, 0)

    def bottom_prompts(self, label: OneLabel, k: Count = 5) -> list[ExtremePrompt]:
        """The prompts on which a part, or one of the sums, is smallest; the smallest first."""
        return self._prompts(label, k, 1)

    def to_dataframe(self, interval: Interval = USUAL_INTERVAL) -> pd.DataFrame:
        """One row per group and part: count, mean and its interval, variance, range, share of positive values.

        In a comparison these are of the differences, and `first` and `second` are the means of either sweep.
        """
        numbers = self._numbers(check_interval(interval))
        return numbers[numbers["sum"].isna()].drop(columns="sum").reset_index(drop=True)

    def sums(self, interval: Interval = USUAL_INTERVAL) -> pd.DataFrame:
        """The same of what the parts add up to, and of the model's own logit.

        The sums are `total`, `constant`, `logit`, `output_logit` and `gap` as in `Attribution`, and `misfit`, which is
        `|gap| / tolerance`: its largest value is the proof that the parts add up on every prompt.
        """
        numbers = self._numbers(check_interval(interval))
        return numbers[numbers["part"].isna()].drop(columns=PART_COLUMNS).reset_index(drop=True)

    def to_json(self, top: Count | None = None, interval: Interval = USUAL_INTERVAL) -> str:
        """The means of each group as strict JSON, the largest of either sign first; see `Attribution.to_json`.

        Args:
            top: How many parts of each group; None for all, and one row for the rest.
            interval: How sure each mean is.

        Raises:
            TypeError: If `top` is not a whole number, or the interval is none.
            ValueError: If `top` is negative.
        """
        frames = self.to_dataframe(interval), self.sums(interval)
        return strict_json(summary_document(self.about, self.settings.split.names, *frames, rows_written(top)))

    def table(self, shown: Count = _SHOWN, interval: Interval = USUAL_INTERVAL) -> Table:
        """The table that is printed, with at most `shown` parts at each end."""
        return self._grid(count(shown, "shown", "parts", least=0), check_interval(interval)).rich()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        yield self._grid(_SHOWN, USUAL_INTERVAL).rich(options.max_width)

    def __str__(self) -> str:
        return printed(self)

    def _repr_html_(self) -> str:
        return self._grid(_SHOWN, USUAL_INTERVAL).html()

    def _overall(self) -> Tally:
        """The numbers of all prompts."""
        return overall_tally(self.tallies, self.about.n_measures, self.settings)

    def _overall_of_some(self) -> Tally:
        """The numbers of all prompts; refuses to rank what is zero because there is nothing."""
        tally = self._overall()
        if not tally.count:
            raise ValueError(self.about.nothing())
        return tally

    def _ranked(self, k: object, by: str, sign: int) -> list[tuple[str, float]]:
        k, labels = count(k, "k", "parts"), self.labels
        absolute = choice(by, "by", ("value", "abs")) == "abs"
        means = self._overall_of_some().moments.mean[: len(labels)]
        order = np.argsort(sign * (np.abs(means) if absolute else means), kind="stable")
        return [(labels[i], float(means[i])) for i in order[:k]]

    def _prompts(self, label: OneLabel, k: object, end: int) -> list[ExtremePrompt]:
        k, measure, kept = count(k, "k", "prompts"), self.about.places(label), self.settings.top_k
        if k > kept:
            raise ValueError(
                f"The summary keeps {kept} prompts at each end, not {shown(k)}. Pass top_k={shown(k)} to Summary.load."
            )
        return self._overall().extremes.prompts(measure, end, k)


def check_interval(interval: object) -> Interval:
    """An interval, checked.

    Raises:
        TypeError: If it is none.
    """
    return instance(interval, Interval, "The interval", "one, such as dla.NormalInterval(0.95)")
