"""Count, mean, variance and range of a set of rows, in a form that can be merged."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64, Int64


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
