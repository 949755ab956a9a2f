"""The numbers of a summary as data frames."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dla.summaries.about import SUMS
from dla.summaries.intervals import Interval
from dla.summaries.splits import Group
from dla.summaries.tally import Tallies, Tally, in_order
from dla.sweeps import PartOf

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
    columns = {
        "mean": moments.mean * known,
        "low": low * known,
        "high": high * known,
        "variance": moments.variance,
        "standard_error": moments.standard_error,
        "min": moments.low * known,
        "max": moments.high * known,
        "positive": moments.share_positive,
    }
    frame = pd.DataFrame({name: values[measures] for name, values in columns.items()})
    frame.insert(0, "count", moments.count)
    return frame


def _index(value: int | None) -> int:
    return _NO_INDEX if value is None else value
