"""A summary as a JSON file: small, readable elsewhere, and exact."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dla.errors import FileFormatError
from dla.summaries.about import About
from dla.summaries.extremes import Extremes
from dla.summaries.group_by import GroupBy
from dla.summaries.moments import Moments
from dla.summaries.replicates import Replicates
from dla.summaries.samples import RowSample
from dla.summaries.tally import SummarySettings, Tallies, Tally, in_order
from dla.sweeps import PartOf
from dla.views.files import replacing

FORMAT = "dla.summary/3"
_MOMENTS = ("mean", "squares", "low", "high", "positive")


def write_summary(path: Path, about: About, settings: SummarySettings, tallies: Tallies) -> None:
    """Writes next to the target and moves into place, so that the file is whole or not there."""
    split = settings.split
    contents = {
        "format": FORMAT,
        "about": asdict(about),
        "by": {"names": split.names, "columns": [c if isinstance(c, str) else None for c in split.columns]},
        "settings": {"top_k": settings.top_k, "bootstrap": settings.bootstrap, "seed": settings.seed},
        "groups": [{"group": group, **_encoded(tallies[group])} for group in in_order(tallies)],
    }
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(contents, allow_nan=False) + "\n", encoding="utf-8")


def read_summary(path: Path) -> tuple[About, SummarySettings, Tallies]:
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
        if found != FORMAT:
            raise ValueError(f"its format is {found!r} and this library reads {FORMAT!r}")
        return _decoded(contents)
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(
            f"{str(path)!r} is not a summary saved by this library, or was cut short ({error}). Save it again."
        ) from error


def _decoded(contents: Mapping[str, Any]) -> tuple[About, SummarySettings, Tallies]:
    told = dict(contents["about"])
    parts = tuple(PartOf(**part) for part in told.pop("parts"))
    about = About(parts=parts, folders=tuple(told.pop("folders")), **told)
    split = GroupBy(tuple(contents["by"]["names"]), tuple(contents["by"]["columns"]))
    settings = SummarySettings(split, **contents["settings"])
    tallies = {tuple(group["group"]): _tally(group, about, settings) for group in contents["groups"]}
    return about, settings, tallies


def _encoded(tally: Tally) -> dict[str, Any]:
    extremes, drawn = tally.extremes, tally.replicates
    return {
        # no rows have no range, and JSON no infinities
        "halves": [
            {"count": half.count, **{name: getattr(half, name).tolist() for name in _MOMENTS}} if half.count else None
            for half in tally.halves
        ],
        "replicates": {"weights": drawn.weights.tolist(), "sums": drawn.sums.tolist()},
        "extremes": {"keys": extremes.keys.tolist(), "values": _without_nan(extremes.values)},
        "texts": [[key, *text] for key, text in sorted(extremes.texts.items())],
        "sample": tally.sample.keys.tolist(),
    }


def _tally(group: Mapping[str, Any], about: About, settings: SummarySettings) -> Tally:
    n, k = about.measures, settings.top_k
    first, second = (_moments(half, n) for half in group["halves"])
    drawn, ends = group["replicates"], group["extremes"]
    return Tally(
        (first, second),
        Replicates(_floats(drawn["weights"], settings.bootstrap), _floats(drawn["sums"], settings.bootstrap, n)),
        Extremes(
            np.array(ends["keys"], np.uint64).reshape(2, n, k),
            _floats(ends["values"], 2, n, k),
            {key: (row, prompt, answer, incorrect) for key, row, prompt, answer, incorrect in group["texts"]},
        ),
        RowSample(np.array(group["sample"], np.uint64)),
    )


def _moments(half: Mapping[str, Any] | None, n: int) -> Moments:
    if half is None:
        return Moments.empty(n)
    mean, squares, low, high = (_floats(half[name], n) for name in _MOMENTS[:-1])
    return Moments(half["count"], mean, squares, low, high, np.array(half["positive"], np.int64).reshape(n))


def _floats(values: Any, *shape: int) -> npt.NDArray[np.float64]:
    """Numbers as an array; null is NaN."""
    return np.array(values, np.float64).reshape(shape)


def _without_nan(values: npt.NDArray[np.float64]) -> Any:
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return plain.tolist()
