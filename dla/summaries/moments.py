"""Count, mean, variance and range of a set of rows, in a form that can be merged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import final

import numpy as np
from jaxtyping import Float64, Int64

_MANY = 8  # rows in a set on average; then each is done for itself


@final
@dataclass(frozen=True, eq=False)
class Moments:
    """What one pass keeps of a set of rows, for each measure. Everything is in float64.

    Law: `of(a).merge(of(b))` is `of` the rows of both, up to rounding; merging with no rows changes nothing.

    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).

    Attributes:
        count: How many rows.
        mean: Their mean; NaN where there is no row, as are `low` and `high`.
        squares: The sum of squared deviations from it.
        low: The least value.
        high: The largest value.
        positive: How many values are above zero.
    """

    count: int
    mean: Float64[np.ndarray, " measure"]
    squares: Float64[np.ndarray, " measure"]
    low: Float64[np.ndarray, " measure"]
    high: Float64[np.ndarray, " measure"]
    positive: Float64[np.ndarray, " measure"]

    @classmethod
    def of(cls, values: Float64[np.ndarray, "row measure"]) -> "Moments":
        """The moments of some rows, or of none."""
        mean = values.sum(0) / (len(values) or np.nan)
        return cls(
            count=len(values),
            mean=mean,
            squares=np.square(values - mean).sum(0),
            low=np.fmin.reduce(values, 0, initial=np.nan),
            high=np.fmax.reduce(values, 0, initial=np.nan),
            positive=(values > 0).sum(0).astype(np.float64),
        )

    @classmethod
    def of_each(
        cls, values: Float64[np.ndarray, "row measure"], sets: Int64[np.ndarray, " row"], n: int
    ) -> list["Moments"]:
        """The moments of each of `n` sets of rows, in one pass over them.

        Args:
            values: The rows.
            sets: The set that each belongs to, from 0.
            n: How many sets there are; one may be empty.
        """
        counts = np.bincount(sets, minlength=n)
        ordered = values[np.argsort(sets, kind="stable")]
        if len(values) >= _MANY * n:
            return [cls.of(some) for some in np.split(ordered, np.cumsum(counts)[:-1])]
        there, found = np.flatnonzero(counts), [cls.of(values[:0])] * n
        for place, moments in zip(there.tolist(), cls._of_small(ordered, counts[there]), strict=True):
            found[place] = moments
        return found

    @classmethod
    def _of_small(
        cls, values: Float64[np.ndarray, "row measure"], counts: Int64[np.ndarray, " set"]
    ) -> Iterator["Moments"]:
        """The moments of sets of rows that stand one after the other: of many small ones all at once."""
        if not len(counts):
            return
        starts = np.cumsum(counts) - counts
        mean = np.add.reduceat(values, starts) / counts[:, None]
        arrays = (
            mean,
            np.add.reduceat(np.square(values - np.repeat(mean, counts, 0)), starts),
            np.minimum.reduceat(values, starts),
            np.maximum.reduceat(values, starts),
            np.add.reduceat((values > 0).astype(np.float64), starts),
        )
        for count, *each in zip(counts.tolist(), *arrays, strict=True):
            # copies: a view would keep the arrays of all sets in memory
            yield cls(count, *(array.copy() for array in each))

    @classmethod
    def together(cls, several: Sequence["Moments"]) -> "Moments":
        """The moments of the rows of all, of which there is at least one."""
        there = [one for one in several if one.count]
        if len(there) < 3:
            return reduce(cls.merge, several)
        counts = np.array([one.count for one in there], np.float64)
        means, squares = np.stack([one.mean for one in there]), np.stack([one.squares for one in there])
        mean = counts @ means / counts.sum()
        return cls(
            count=sum(one.count for one in there),
            mean=mean,
            squares=squares.sum(0) + counts @ np.square(means - mean),
            low=np.minimum.reduce([one.low for one in there]),
            high=np.maximum.reduce([one.high for one in there]),
            positive=np.sum([one.positive for one in there], 0),
        )

    def merge(self, other: "Moments") -> "Moments":
        """The moments of the rows of both."""
        if not self.count or not other.count:
            return self if self.count else other
        count, step = self.count + other.count, other.mean - self.mean
        return Moments(
            count=count,
            mean=(self.count * self.mean + other.count * other.mean) / count,
            squares=self.squares + other.squares + step**2 * (self.count * other.count / count),
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            positive=self.positive + other.positive,
        )

    def select(self, measures: Int64[np.ndarray, " some"]) -> "Moments":
        """Only some of the measures."""
        arrays = (self.mean, self.squares, self.low, self.high, self.positive)
        return Moments(self.count, *(array[measures] for array in arrays))

    @property
    def variance(self) -> Float64[np.ndarray, " measure"]:
        """The unbiased variance of the rows; NaN where there are fewer than two."""
        return self.squares / (self.count - 1 if self.count > 1 else np.nan)

    @property
    def standard_error(self) -> Float64[np.ndarray, " measure"]:
        """The standard deviation of the mean."""
        return np.sqrt(self.variance / (self.count or np.nan))

    @property
    def share_positive(self) -> Float64[np.ndarray, " measure"]:
        """The share of rows above zero; NaN where there is none."""
        return self.positive / (self.count or np.nan)
