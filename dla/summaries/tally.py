"""The numbers of a summary: what one pass over the rows keeps of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from dla.errors import FileFormatError
from dla.inputs.given import shown
from dla.summaries.extremes import Extremes, Text
from dla.summaries.group_by import Group, GroupBy
from dla.summaries.moments import Moments
from dla.summaries.replicates import ROWS_DRAWN, Replicates
from dla.summaries.row_batches import RowBatch, plain_values
from dla.summaries.row_keys import halves, row_keys

_NUMBERS = 2**27  # how many numbers may be kept for one group: 1 GB
_SAMPLE = 4096  # how many keys are kept
_TEXTS = ("row", "prompt", "answer", "incorrect")


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

    def check_size(self, measures: int) -> None:
        """Refuses what would fill the memory.

        Args:
            measures: How many numbers each row has.

        Raises:
            ValueError: If more would be kept, for one group, than anyone looks at.
        """
        for what, wanted, most in (
            ("top_k", self.top_k, _NUMBERS // (4 * measures)),
            ("bootstrap", self.bootstrap, _NUMBERS // max(measures, ROWS_DRAWN)),
        ):
            if wanted > most:
                raise ValueError(
                    f"{what}={shown(wanted)}: for {measures} numbers a row, {most} can be kept. Ask for fewer."
                )


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
        sample: The smallest keys, by which rows that are there twice are noticed. Keys are hashes, so the rows are as
            good as drawn at random, and a row that is in two tallies is in both samples if its key is small enough.
            Source: Broder, "On the resemblance and containment of documents" (1997).
    """

    halves: tuple[Moments, Moments]
    replicates: Replicates
    extremes: Extremes
    sample: UInt64[np.ndarray, " key"]

    @classmethod
    def of(
        cls,
        values: Float64[np.ndarray, "row measure"],
        keys: UInt64[np.ndarray, " row"],
        texts: Sequence[Text],
        settings: SummarySettings,
    ) -> "Tally":
        """The tally of some rows, or of none: their measures, their keys and what they say."""
        half = halves(keys, settings.seed)
        first, second = Moments.of_each(values, half, 2)
        return cls._with_moments((first, second), values, keys, texts, settings)

    @classmethod
    def of_each(
        cls,
        values: Float64[np.ndarray, "row measure"],
        keys: UInt64[np.ndarray, " row"],
        texts: Sequence[Text],
        groups: Sequence[Int64[np.ndarray, "_"]],
        settings: SummarySettings,
    ) -> list["Tally"]:
        """The tally of each of some groups of the rows, which are given by their places; each row is in one."""
        sets = np.empty(len(keys), np.int64)
        sets[np.concatenate(groups)] = np.repeat(np.arange(len(groups)), [len(places) for places in groups])
        moments = Moments.of_each(values, 2 * sets + halves(keys, settings.seed), 2 * len(groups))
        return [
            cls._with_moments(
                (moments[2 * i], moments[2 * i + 1]),
                values[places],
                keys[places],
                [texts[place] for place in places.tolist()],
                settings,
            )
            for i, places in enumerate(groups)
        ]

    @classmethod
    def _with_moments(
        cls,
        moments: tuple[Moments, Moments],
        values: Float64[np.ndarray, "row measure"],
        keys: UInt64[np.ndarray, " row"],
        texts: Sequence[Text],
        settings: SummarySettings,
    ) -> "Tally":
        return cls(
            moments,
            Replicates.of(values, keys, settings.bootstrap, settings.seed),
            Extremes.of(values, keys, texts, settings.top_k),
            np.sort(keys)[:_SAMPLE],
        )

    @classmethod
    def empty(cls, n: int, settings: SummarySettings) -> "Tally":
        """No rows of `n` measures."""
        return cls.of(np.zeros((0, n)), np.zeros(0, np.uint64), [], settings)

    @classmethod
    def together(cls, several: Sequence["Tally"]) -> "Tally":
        """The tally of the rows of all, of which there is at least one."""
        first, second = (Moments.together([tally.halves[i] for tally in several]) for i in (0, 1))
        return cls(
            (first, second),
            Replicates.together([tally.replicates for tally in several]),
            Extremes.together([tally.extremes for tally in several]),
            np.sort(np.concatenate([tally.sample for tally in several]))[:_SAMPLE],
        )

    def merge(self, other: "Tally") -> "Tally":
        """The tally of the rows of both."""
        return self.together([self, other])

    def select(self, measures: Int64[np.ndarray, " some"]) -> "Tally":
        """Only some of the measures."""
        first, second = (moments.select(measures) for moments in self.halves)
        return Tally((first, second), self.replicates.select(measures), self.extremes.select(measures), self.sample)

    @property
    def count(self) -> int:
        """How many rows."""
        return self.halves[0].count + self.halves[1].count

    @property
    def moments(self) -> Moments:
        """The moments of all rows."""
        return self.halves[0].merge(self.halves[1])


Tallies = Mapping[Group, Tally]
"""A tally for each group of which there are rows."""


def tally_rows(batches: Iterable[RowBatch], settings: SummarySettings) -> Tallies:
    """The tallies of all rows, of which one batch is held at a time.

    Raises:
        FileFormatError: If rows are there twice.
    """
    tallies: Tallies = {}
    for rows in batches:
        found = tallies_of(rows, settings)
        tallies = merge_tallies(tallies, found)
        twice = rows_seen_twice({group: tallies[group] for group in found})
        if twice:
            raise FileFormatError(
                f"The shards hold {twice} rows or more twice, the same row of the same corpus. Files were copied into "
                "the folder, or another program wrote to it. Delete it, and sweep again."
            )
    return tallies


def tallies_of(rows: RowBatch, settings: SummarySettings) -> Tallies:
    """The tally of each group of some rows."""
    keys, groups = row_keys(rows.prompts), settings.split.groups(rows.prompts)
    texts = list(zip(*(plain_values(rows.prompts, name) for name in _TEXTS), strict=True))
    if not groups:
        return {}
    each = Tally.of_each(rows.values, keys, texts, [*groups.values()], settings)
    return dict(zip(groups, each, strict=True))


def merge_tallies(one: Tallies, other: Tallies) -> Tallies:
    """The tallies of the rows of both."""
    common = one.keys() & other.keys()
    return {**one, **other, **{group: one[group].merge(other[group]) for group in common}}


def overall_tally(tallies: Tallies, n: int, settings: SummarySettings) -> Tally:
    """One tally of all groups, of `n` measures."""
    return Tally.together([Tally.empty(n, settings), *(tallies[group] for group in sorted_groups(tallies))])


def rows_seen_twice(*several: Tallies) -> int:
    """How many rows are seen to be there more than once; none is missed of up to 4096 in each group."""
    samples = [tally.sample for tallies in several for tally in tallies.values()]
    return sum(map(len, samples)) - len(np.unique(np.concatenate(samples))) if samples else 0


def sorted_groups(tallies: Tallies) -> list[Group]:
    """The groups, so that the order of reading does not show: numbers first, then texts, then what is missing."""
    return sorted(tallies, key=lambda group: [(v is None, isinstance(v, str), 0 if v is None else v) for v in group])
