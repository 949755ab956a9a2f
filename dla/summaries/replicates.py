"""Bootstrap replicates of a mean, in a form that can be merged."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import final

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from dla.summaries.row_keys import poisson_weights

ROWS_DRAWN = 128
"""How many rows' weights are drawn at once: those of a thousand replicates take 1 MB, which stays in the cache."""


@final
@dataclass(frozen=True, eq=False)
class Replicates:
    """Sums of the rows under the weights of each replicate.

    The weights belong to the row, the seed and the replicate, so it does not matter which shard a row stands in, in
    which order shards are read, or how summaries are merged.

    Attributes:
        weights: The sum of weights.
        sums: The weighted sum of each measure.
    """

    weights: Float64[np.ndarray, " replicate"]
    sums: Float64[np.ndarray, "replicate measure"]

    @classmethod
    def of(
        cls, values: Float64[np.ndarray, "row measure"], keys: UInt64[np.ndarray, " row"], n: int, seed: int
    ) -> "Replicates":
        """`n` replicates of some rows, or of none."""
        weights, sums = np.zeros(n), np.zeros((n, values.shape[1]))
        for start in range(0, len(keys) if n else 0, ROWS_DRAWN):
            drawn = poisson_weights(keys[start : start + ROWS_DRAWN], seed, n)
            weights += drawn.sum(0)
            sums += drawn.T @ values[start : start + ROWS_DRAWN]
        return cls(weights, sums)

    def merge(self, other: "Replicates") -> "Replicates":
        """The replicates of the rows of both."""
        return Replicates(self.weights + other.weights, self.sums + other.sums)

    @classmethod
    def together(cls, several: Sequence["Replicates"]) -> "Replicates":
        """The replicates of the rows of all, of which there is at least one."""
        return reduce(cls.merge, several)

    def select(self, measures: Int64[np.ndarray, " some"]) -> "Replicates":
        """Only some of the measures."""
        return Replicates(self.weights, self.sums[:, measures])

    @property
    def means(self) -> Float64[np.ndarray, "drawn measure"]:
        """The mean of each replicate in which a row was drawn at all."""
        drawn = self.weights > 0
        means: Float64[np.ndarray, "drawn measure"] = self.sums[drawn] / self.weights[drawn, None]
        return means
