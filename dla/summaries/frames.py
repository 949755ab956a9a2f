"""The numbers of a summary as a data frame."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64

from dla.summaries.intervals import Interval
from dla.summaries.row_batches import Plain
from dla.summaries.subject import SUM_MEASURES
from dla.summaries.tally import Tallies, Tally, sorted_groups
from dla.sweeps import PartOf

PART_COLUMNS = ["part", "kind", "layer", "index", "head"]
"""What is told of a part; -1 where it has no layer, index or head."""

_STATISTICS = "count mean low high variance standard_error min max positive".split()


def statistics_frame(
    tallies: Tallies, names: Sequence[str], parts: Sequence[PartOf], interval: Interval
) -> pd.DataFrame:
    """One row per group and measure: first the parts, whose `sum` is missing, then the sums, whose `part` is missing.

    Args:
        tallies: The numbers of each group.
        names: What the columns are called that rows are split by.
        parts: The parts.
        interval: How sure each mean is.
    """
    rows = [(part.label, part.kind, *(_index(i) for i in (part.layer, part.index, part.head)), None) for part in parts]
    rows += [(None, None, -1, -1, -1, name) for name in SUM_MEASURES]
    known = pd.DataFrame(rows, columns=[*PART_COLUMNS, "sum"])
    if not tallies:
        return pd.DataFrame(columns=[*names, *known.columns, *_STATISTICS])
    groups, size = sorted_groups(tallies), len(known)
    split = {name: _values([group[i] for group in groups], size) for i, name in enumerate(names)}
    statistics = np.concatenate([_statistics(tallies[group], interval) for group in groups], 1)
    columns: dict[str, Any] = dict(zip(_STATISTICS, statistics, strict=True))
    columns["count"] = columns["count"].astype(np.int64)
    return pd.DataFrame({**split, **pd.concat([known] * len(groups), ignore_index=True), **columns})


def _values(groups: Sequence[Plain], size: int) -> "pd.Series[Any]":
    """The value of each group, in as many rows as a group has."""
    values: pd.Series[Any] = pd.Series([*groups], dtype=object)
    return values.infer_objects().repeat(size).reset_index(drop=True)


def _statistics(tally: Tally, interval: Interval) -> Float64[np.ndarray, "statistic measure"]:
    moments = tally.moments
    low, high = interval.bounds(moments, tally.replicates)
    count = np.full_like(moments.mean, moments.count)
    spread = moments.variance, moments.standard_error, moments.low, moments.high
    return np.stack([count, moments.mean, low, high, *spread, moments.share_positive])


def _index(value: int | None) -> int:
    return -1 if value is None else value
