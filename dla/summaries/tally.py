"""The numbers of a summary: what one pass over the rows keeps of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64, UInt64

from dla.summaries.extremes import Extremes, Text
from dla.summaries.group_by import Group, GroupBy
from dla.summaries.keys import halves, row_keys
from dla.summaries.moments import Moments
from dla.summaries.replicates import Replicates
from dla.summaries.samples import RowSample


@final
@dataclass(frozen=True)
class SummarySettings:
    """What is kept, and how rows are drawn.

    Attributes:
        split: The groups.
        top_k: How many prompts are kept at each end of each measure.
        bootstrap: How many replicates.
        seed: Of the halves and the replicates.
    """

    split: GroupBy
    top_k: int
    bootstrap: int
    seed: int

    def __post_init__(self) -> None:
        for name, value in (("top_k", self.top_k), ("bootstrap", self.bootstrap), ("seed", self.seed)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} is {value!r}, of type {type(value).__name__}; pass a whole number.")
            if value < 0 and name != "seed":
                raise ValueError(f"{name} is {value}; pass how many are to be kept, or 0 for none.")


@final
@dataclass(frozen=True, eq=False)
class RowBatch:
    """Some rows of a sweep.

    Attributes:
        prompts: What was asked: row, prompt, answer and so on.
        values: The measures of each row.
    """

    prompts: pd.DataFrame
    values: Float64[np.ndarray, "row measure"]


@final
@dataclass(frozen=True, eq=False)
class Tally:
    """What is kept of a set of rows.

    Law: a tally of some rows merged with a tally of others is the tally of all of them, up to rounding; merging is
    associative and commutative, and an empty tally changes nothing.

    Attributes:
        halves: The moments of the rows of either half of the corpus.
        replicates: The bootstrap replicates.
        extremes: The rows at both ends of each measure.
        sample: By which rows that are there twice are noticed.
    """

    halves: tuple[Moments, Moments]
    replicates: Replicates
    extremes: Extremes
    sample: RowSample

    @classmethod
    def empty(cls, n: int, settings: SummarySettings) -> "Tally":
        """No rows of `n` measures."""
        return cls(
            (Moments.empty(n), Moments.empty(n)),
            Replicates.empty(settings.bootstrap, n),
            Extremes.empty(n, settings.top_k),
            RowSample(np.zeros(0, np.uint64)),
        )

    @classmethod
    def of(
        cls,
        values: Float64[np.ndarray, "row measure"],
        keys: UInt64[np.ndarray, " row"],
        texts: Sequence[Text],
        settings: SummarySettings,
    ) -> "Tally":
        """The tally of some rows: their measures, their keys and what they say."""
        half = halves(keys, settings.seed)
        return cls(
            (Moments.of(values[half == 0]), Moments.of(values[half == 1])),
            Replicates.of(values, keys, settings.bootstrap, settings.seed),
            Extremes.of(values, keys, texts, settings.top_k),
            RowSample.of(keys),
        )

    def merge(self, other: "Tally") -> "Tally":
        """The tally of the rows of both."""
        first, second = (mine.merge(yours) for mine, yours in zip(self.halves, other.halves, strict=True))
        return Tally(
            (first, second),
            self.replicates.merge(other.replicates),
            self.extremes.merge(other.extremes),
            self.sample.merge(other.sample),
        )

    def select(self, measures: Int64[np.ndarray, " some"]) -> "Tally":
        """Only some of the measures."""
        first, second = (moments.select(measures) for moments in self.halves)
        return Tally((first, second), self.replicates.select(measures), self.extremes.select(measures), self.sample)

    @property
    def moments(self) -> Moments:
        """The moments of all rows."""
        return self.halves[0].merge(self.halves[1])


Tallies = Mapping[Group, Tally]
"""A tally for each group of which there are rows."""


def tallies_of(rows: RowBatch, settings: SummarySettings) -> Tallies:
    """The tally of each group of some rows."""
    keys, texts = row_keys(rows.prompts), _texts(rows.prompts)
    return {
        group: Tally.of(rows.values[places], keys[places], [texts[place] for place in places], settings)
        for group, places in settings.split.groups(rows.prompts).items()
    }


def merged(one: Tallies, other: Tallies) -> Tallies:
    """The tallies of the rows of both."""
    common = one.keys() & other.keys()
    return {**one, **other, **{group: one[group].merge(other[group]) for group in common}}


def together(tallies: Tallies, empty: Tally) -> Tally:
    """One tally of all groups."""
    return reduce(Tally.merge, (tallies[group] for group in in_order(tallies)), empty)


def common_rows(one: Tallies, other: Tallies) -> int:
    """How many rows are seen to be in both; see `RowSample`."""
    samples = [RowSample.of(np.concatenate([t.sample.keys for t in each.values()])) for each in (one, other) if each]
    return samples[0].common(samples[1]) if len(samples) == 2 else 0


def in_order(tallies: Tallies) -> list[Group]:
    """The groups, sorted, so that the order of reading does not show."""
    return sorted(tallies, key=lambda group: [_rank(value) for value in group])


def _rank(value: str | int | float | bool | None) -> tuple[int, float, str]:
    """Numbers first, then texts, then what is missing."""
    if value is None:
        return 2, 0.0, ""
    return (1, 0.0, value) if isinstance(value, str) else (0, float(value), "")


def _texts(prompts: pd.DataFrame) -> list[Text]:
    """What each row says. There may be no incorrect answer, and no answer."""
    asked = [
        [_answer(value) for value in prompts[name].tolist()] if name in prompts.columns else [None] * len(prompts)
        for name in ("answer", "incorrect")
    ]
    return list(zip(prompts["row"].tolist(), prompts["prompt"].astype(str).tolist(), *asked, strict=True))


def _answer(value: object) -> str | int | None:
    """A token as text or id; what is missing in a column of a data frame is NaN."""
    if isinstance(value, float):
        return int(value) if value == value else None
    return value if isinstance(value, str | int) else None
