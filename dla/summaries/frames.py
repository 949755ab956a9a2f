"""The numbers of a summary as a data frame."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dla.summaries.intervals import Interval
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
    frames = []
    for group in sorted_groups(tallies):
        values = pd.DataFrame({name: [value] * len(known) for name, value in zip(names, group, strict=True)})
        frames.append(pd.concat([values, known, _statistics(tallies[group], interval)], axis=1))
    return pd.concat(frames, ignore_index=True)


def _statistics(tally: Tally, interval: Interval) -> pd.DataFrame:
    moments = tally.moments
    low, high = interval.bounds(moments, tally.replicates)
    count = np.full_like(moments.mean, moments.count, np.int64)
    spread = moments.variance, moments.standard_error, moments.low, moments.high
    columns = (count, moments.mean, low, high, *spread, moments.share_positive)
    return pd.DataFrame(dict(zip(_STATISTICS, columns, strict=True)))


def _index(value: int | None) -> int:
    return -1 if value is None else value
