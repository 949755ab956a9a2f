"""Count, mean, variance and range of a set of rows, in a form that can be merged."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64, Int64


@final
@dataclass(frozen=True, eq=False)
class Moments:
    """What one pass keeps of a set of rows, for each measure. Everything is in float64.

    Law: `of(a).merge(of(b))` is `of` the rows of both, up to rounding; `empty` changes nothing.

    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).

    Attributes:
        count: How many rows.
        mean: Their mean.
        squares: The sum of squared deviations from it.
        low: The least value; infinite where there is no row.
        high: The largest value; minus infinity where there is no row.
        positive: How many values are above zero.
    """

    count: int
    mean: Float64[np.ndarray, " measure"]
    squares: Float64[np.ndarray, " measure"]
    low: Float64[np.ndarray, " measure"]
    high: Float64[np.ndarray, " measure"]
    positive: Int64[np.ndarray, " measure"]

    @classmethod
    def empty(cls, n: int) -> "Moments":
        """No rows of `n` measures."""
        return cls(0, np.zeros(n), np.zeros(n), np.full(n, np.inf), np.full(n, -np.inf), np.zeros(n, np.int64))

    @classmethod
    def of(cls, values: Float64[np.ndarray, "row measure"]) -> "Moments":
        """The moments of some rows."""
        if not len(values):
            return cls.empty(values.shape[1])
        mean = values.mean(0)
        return cls(
            count=len(values),
            mean=mean,
            squares=np.square(values - mean).sum(0),
            low=values.min(0),
            high=values.max(0),
            positive=(values > 0).sum(0).astype(np.int64),
        )

    def merge(self, other: "Moments") -> "Moments":
        """The moments of the rows of both."""
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        step = other.mean - self.mean
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
        return self.squares / (self.count - 1) if self.count > 1 else np.full_like(self.squares, np.nan)

    @property
    def standard_error(self) -> Float64[np.ndarray, " measure"]:
        """The standard deviation of the mean."""
        return np.sqrt(self.variance / max(self.count, 1))

    @property
    def share_positive(self) -> Float64[np.ndarray, " measure"]:
        """The share of rows above zero; NaN where there is none."""
        return self.positive / self.count if self.count else np.full_like(self.mean, np.nan)
