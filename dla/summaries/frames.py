"""The numbers of a summary as data frames."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dla.summaries.about import SUMS
from dla.summaries.group_by import Group
from dla.summaries.intervals import Interval
from dla.summaries.tally import Tallies, Tally, in_order
from dla.sweeps import PartOf

NUMBERS = "count mean low high variance standard_error min max positive".split()
"""What is told of each part: the share of positive values last."""

_NO_INDEX = -1


def parts_frame(tallies: Tallies, names: Sequence[str], parts: Sequence[PartOf], interval: Interval) -> pd.DataFrame:
    """One row a group and part."""
    known = pd.DataFrame(
        {
            "part": [part.label for part in parts],
            "kind": [part.kind for part in parts],
            "layer": [_index(part.layer) for part in parts],
            "index": [_index(part.index) for part in parts],
            "head": [_index(part.head) for part in parts],
        }
    )
    return _frame(tallies, names, known, slice(0, len(parts)), interval)


def sums_frame(tallies: Tallies, names: Sequence[str], n_parts: int, interval: Interval) -> pd.DataFrame:
    """One row a group and sum."""
    return _frame(tallies, names, pd.DataFrame({"sum": list(SUMS)}), slice(n_parts, None), interval)


def _frame(
    tallies: Tallies, names: Sequence[str], known: pd.DataFrame, measures: slice, interval: Interval
) -> pd.DataFrame:
    if not tallies:
        return pd.DataFrame(columns=[*names, *known.columns, *NUMBERS])
    frames = [
        pd.concat([_group(names, group, len(known)), known, _numbers(tallies[group], measures, interval)], axis=1)
        for group in in_order(tallies)
    ]
    return pd.concat(frames, ignore_index=True)


def _group(names: Sequence[str], group: Group, n: int) -> pd.DataFrame:
    return pd.DataFrame({name: [value] * n for name, value in zip(names, group, strict=True)}, index=range(n))


def _numbers(tally: Tally, measures: slice, interval: Interval) -> pd.DataFrame:
    moments = tally.moments
    low, high = interval.bounds(moments, tally.replicates)
    known = np.nan if not moments.count else 1.0
    columns = (
        np.full_like(moments.mean, moments.count),
        moments.mean * known,
        low * known,
        high * known,
        moments.variance,
        moments.standard_error,
        moments.low * known,
        moments.high * known,
        moments.share_positive,
    )
    numbers = {name: values[measures] for name, values in zip(NUMBERS, columns, strict=True)}
    return pd.DataFrame(numbers).astype({"count": np.int64})


def _index(value: int | None) -> int:
    return _NO_INDEX if value is None else value
