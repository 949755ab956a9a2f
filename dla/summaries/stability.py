"""Does a ranking hold on the second half?"""

from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Float64

from dla.summaries.tally import Tally


@final
@dataclass(frozen=True)
class Stability:
    """How alike the parts rank in two halves of the rows, which share none.

    Attributes:
        spearman: Spearman's rank correlation of the parts' means; NaN where it is not defined.
        common: The share of the `k` largest parts of one half that are among those of the other.
        k: How many parts `common` looks at.
        counts: How many rows each half has.
    """

    spearman: float
    common: float
    k: int
    counts: tuple[int, int]


def stability_of(tally: Tally, n_parts: int, k: int) -> Stability:
    """How stable the ranking of the first `n_parts` measures is.

    Raises:
        ValueError: If `k` is not a number of parts.
    """
    if not 0 < k <= n_parts:
        raise ValueError(f"k is {k}; pass how many of the {n_parts} parts are to be looked at.")
    one, other = (half.mean[:n_parts] for half in tally.halves)
    counts = (tally.halves[0].count, tally.halves[1].count)
    if not all(counts):
        return Stability(np.nan, np.nan, k, counts)
    tops = [set(np.argsort(-means, kind="stable")[:k].tolist()) for means in (one, other)]
    return Stability(_correlation(_ranks(one), _ranks(other)), len(tops[0] & tops[1]) / k, k, counts)


def _ranks(means: Float64[np.ndarray, " part"]) -> Float64[np.ndarray, " part"]:
    """Ranks; equal values share the mean of theirs."""
    return pd.Series(means).rank().to_numpy(np.float64)


def _correlation(x: Float64[np.ndarray, " part"], y: Float64[np.ndarray, " part"]) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else float("nan")
