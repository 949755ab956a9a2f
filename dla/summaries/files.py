"""A summary as a JSON file: small, readable elsewhere, and exact."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from dla.errors import FileFormatError
from dla.summaries.extremes import Extremes
from dla.summaries.group_by import GroupBy
from dla.summaries.moments import Moments
from dla.summaries.replicates import Replicates
from dla.summaries.row_batches import Plain
from dla.summaries.subject import SummarySubject
from dla.summaries.tally import SummarySettings, Tallies, Tally, sorted_groups
from dla.text import as_text
from dla.views.declared import declared_of
from dla.views.files import replacing
from dla.views.sealed import sealed_json

SUMMARY_FORMAT = "dla.summary/5"

_MOST = 2**53  # rows: as many as float64 can count

_OF_EACH = ("mean", "squares", "low", "high", "positive")

_Numbers = list[float | None]
"""Numbers in JSON, which has no NaN: null stands for it."""


@final
@dataclass(frozen=True)
class _Half:
    count: int
    mean: _Numbers
    squares: _Numbers
    low: _Numbers
    high: _Numbers
    positive: _Numbers


@final
@dataclass(frozen=True)
class _Drawn:
    weights: _Numbers
    sums: list[_Numbers]


@final
@dataclass(frozen=True)
class _Ends:
    keys: list[list[list[int]]]
    values: list[list[_Numbers]]
    texts: dict[int, tuple[Plain, Plain, Plain, Plain]]
    k: int


@final
@dataclass(frozen=True)
class _GroupFields:
    group: tuple[Plain, ...]
    halves: tuple[_Half, _Half]
    replicates: _Drawn
    extremes: _Ends
    sample: list[int]


@final
@dataclass(frozen=True)
class _SummaryFields:
    format: str
    about: SummarySubject
    settings: SummarySettings
    groups: list[_GroupFields]


def write_summary(path: Path, about: SummarySubject, settings: SummarySettings, tallies: Tallies) -> None:
    """Writes next to the target and moves into place, so that the file is whole or not there."""
    contents = {
        "format": SUMMARY_FORMAT,
        "about": asdict(about),
        "settings": asdict(settings),
        "groups": [{"group": group, **asdict(tallies[group])} for group in sorted_groups(tallies)],
    }
    text = json.dumps(contents, allow_nan=False, default=_plain) + "\n"
    with replacing(path) as unfinished:
        unfinished.write_text(sealed_json(text), encoding="utf-8")


def read_summary(path: Path) -> tuple[SummarySubject, SummarySettings, Tallies]:
    """What `write_summary` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        FileFormatError: If it is no summary, or was cut short or edited.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    try:
        fields: _SummaryFields = declared_of(path.read_bytes(), _SummaryFields, SUMMARY_FORMAT)
        n, settings = fields.about.n_measures, fields.settings
        _check_groups(settings.split, fields.groups)
        return fields.about, settings, {each.group: _tally(each, n, settings) for each in fields.groups}
    except (OverflowError, TypeError, ValueError) as error:
        raise FileFormatError(
            f"{str(path)!r} is not a summary saved by this library, or was cut short or edited "
            f"({as_text(str(error))}). Save it again."
        ) from error


def _check_groups(split: GroupBy, groups: Sequence[_GroupFields]) -> None:
    """Whether each group has a value for each column, and a number of rows, and none is there twice."""
    lengths = {len(split.columns), *(len(each.group) for each in groups)}
    if lengths != {len(split.names)} or len({each.group for each in groups}) < len(groups):
        raise ValueError(f"its groups are not those of rows that are split by {list(split.names)}")
    for count in (half.count for each in groups for half in each.halves):
        if not 0 <= count <= _MOST:
            raise ValueError(f"there cannot be {count} rows")


def _plain(value: Any) -> Any:
    """An array as lists, with null for NaN. A function that computes a column is not kept."""
    if callable(value):
        return None
    plain = value.astype(object)
    plain[np.isnan(value)] = None
    return plain.tolist()


def _tally(group: _GroupFields, n: int, settings: SummarySettings) -> Tally:
    first, second = (_moments(half, n) for half in group.halves)
    drawn, replicates = group.replicates, settings.bootstrap
    return Tally(
        (first, second),
        Replicates(_floats(drawn.weights, replicates), _floats(drawn.sums, replicates, n)),
        _extremes(group.extremes, n, settings.top_k),
        np.array(group.sample, np.uint64),
    )


def _moments(half: _Half, n: int) -> Moments:
    arrays = [_floats(getattr(half, name), n) for name in _OF_EACH]
    if half.count and any(np.isnan(array).any() for array in arrays):
        raise ValueError(f"there are {half.count} rows, and a number of theirs is missing")
    return Moments(half.count, *arrays)


def _extremes(ends: _Ends, n: int, k: int) -> Extremes:
    kept = len(ends.texts) if len(ends.texts) <= k else k
    keys, values = np.array(ends.keys, np.uint64).reshape(2, n, kept), _floats(ends.values, 2, n, kept)
    if {*keys.ravel().tolist()} - {*ends.texts} or np.isnan(values).any() or ends.k != k:
        raise ValueError("its prompts at the ends are not those that it describes")
    return Extremes(keys, values, ends.texts, k)


def _floats(values: Any, *shape: int) -> npt.NDArray[np.float64]:
    """Numbers as an array of that shape; null is NaN."""
    return np.array(values, np.float64).reshape(shape)
