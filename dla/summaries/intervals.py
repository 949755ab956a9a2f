"""How sure a mean is."""

import abc
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64
from scipy.special import stdtrit

from dla.inputs.given import number
from dla.summaries.moments import Moments
from dla.summaries.replicates import Replicates

Bounds = tuple[Float64[np.ndarray, " measure"], Float64[np.ndarray, " measure"]]


@dataclass(frozen=True)
class Interval(abc.ABC):
    """A confidence interval of a mean over rows that are drawn independently.

    Law: over many corpora drawn from one population, `bounds` encloses the population's mean in a share `level` of
    them, approximately, and the better the more rows there are.

    Attributes:
        level: The share of corpora, between 0 and 1.
    """

    level: float = 0.95

    def __post_init__(self) -> None:
        level = number(self.level, "the level of an interval")
        if not 0 < level < 1:
            raise ValueError(f"The level of an interval is a share between 0 and 1, not {level}. Pass 0.95 for 95 %.")
        object.__setattr__(self, "level", level)

    @abc.abstractmethod
    def bounds(self, moments: Moments, replicates: Replicates) -> Bounds:
        """The lower and the upper end for each measure; NaN where there are too few rows to tell."""


@final
@dataclass(frozen=True)
class NormalInterval(Interval):
    """`mean ± t · sd / √n` with Student's t, which for many rows is the normal quantile."""

    def bounds(self, moments: Moments, replicates: Replicates) -> Bounds:
        reach = stdtrit(max(moments.count - 1, 1), (1 + self.level) / 2) * moments.standard_error
        return moments.mean - reach, moments.mean + reach


@final
@dataclass(frozen=True)
class BootstrapInterval(Interval):
    """The quantiles of the means of bootstrap replicates; it need not be symmetric about the mean."""

    def bounds(self, moments: Moments, replicates: Replicates) -> Bounds:
        """The bounds.

        Raises:
            ValueError: If no replicates were kept.
        """
        if not len(replicates.weights):
            raise ValueError(
                "The summary holds no bootstrap replicates. Ask for some when it is made: "
                "Summary.load(folder, bootstrap=1000)."
            )
        means = replicates.means
        if moments.count < 2 or not len(means):
            return np.full_like(moments.mean, np.nan), np.full_like(moments.mean, np.nan)
        low, high = np.quantile(means, [(1 - self.level) / 2, (1 + self.level) / 2], axis=0)
        return low, high
