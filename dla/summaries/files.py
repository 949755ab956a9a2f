"""A summary as a JSON file: small, readable elsewhere, and exact."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dla.errors import FileFormatError
from dla.summaries.extremes import Extremes
from dla.summaries.group_by import GroupBy
from dla.summaries.moments import Moments
from dla.summaries.replicates import Replicates
from dla.summaries.subject import SummarySubject
from dla.summaries.tally import SummarySettings, Tallies, Tally, sorted_groups
from dla.sweeps import PartOf
from dla.text import as_text
from dla.views.files import replacing

SUMMARY_FORMAT = "dla.summary/4"


def write_summary(path: Path, about: SummarySubject, settings: SummarySettings, tallies: Tallies) -> None:
    """Writes next to the target and moves into place, so that the file is whole or not there."""
    contents = {
        "format": SUMMARY_FORMAT,
        "about": asdict(about),
        "settings": asdict(settings),
        "groups": [{"group": group, **asdict(tallies[group])} for group in sorted_groups(tallies)],
    }
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(contents, allow_nan=False, default=_plain) + "\n", encoding="utf-8")


def read_summary(path: Path) -> tuple[SummarySubject, SummarySettings, Tallies]:
    """What `write_summary` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        FileFormatError: If it is no summary, or was cut short.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
        found = contents["format"]
        if found != SUMMARY_FORMAT:
            raise ValueError(f"its format is {found!r} and this library reads {SUMMARY_FORMAT!r}")
        return _decoded(contents)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FileFormatError(
            f"{str(path)!r} is not a summary saved by this library, or was cut short "
            f"({as_text(str(error))}). Save it again."
        ) from error


def _plain(value: Any) -> Any:
    """An array as lists, with null for NaN. A function that computes a column is not kept."""
    if callable(value):
        return None
    plain = value.astype(object)
    plain[np.isnan(value)] = None
    return plain.tolist()


def _decoded(contents: Mapping[str, Any]) -> tuple[SummarySubject, SummarySettings, Tallies]:
    told, numbers = contents["about"], contents["settings"]
    parts = tuple(PartOf(**part) for part in told["parts"])
    about = SummarySubject(**{**told, "parts": parts, "folders": tuple(told["folders"])})
    split = GroupBy(**{name: tuple(values) for name, values in numbers["split"].items()})
    settings = SummarySettings(**{**numbers, "split": split})
    return about, settings, {tuple(each["group"]): _tally(each, about, settings) for each in contents["groups"]}


def _tally(group: Mapping[str, Any], about: SummarySubject, settings: SummarySettings) -> Tally:
    n, k, replicates = about.n_measures, settings.top_k, settings.bootstrap
    first, second = (
        Moments(half.pop("count"), **{name: _floats(values, n) for name, values in half.items()})
        for half in group["halves"]
    )
    drawn, ends = group["replicates"], group["extremes"]
    return Tally(
        (first, second),
        Replicates(_floats(drawn["weights"], replicates), _floats(drawn["sums"], replicates, n)),
        Extremes(
            np.array(ends["keys"], np.uint64).reshape(2, n, k),
            _floats(ends["values"], 2, n, k),
            {int(key): tuple(text) for key, text in ends["texts"].items()},
        ),
        np.array(group["sample"], np.uint64),
    )


def _floats(values: Any, *shape: int) -> npt.NDArray[np.float64]:
    """Numbers as an array of that shape; null is NaN."""
    return np.array(values, np.float64).reshape(shape)
