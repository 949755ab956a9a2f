"""A summary as the table that is printed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dla.summaries.about import About
from dla.views.grid import Grid, Line, signed

Frames = tuple[pd.DataFrame, pd.DataFrame]
"""The numbers of the parts, and those of the sums."""

Row = Mapping[str, Any]

Cells = Callable[[Row], tuple[str, ...]]
"""What the columns show of a row."""

_COLUMNS = 2
"""With more groups than that they become rows, and the columns the parts that are strongest in any of them."""

_PARTS = 5
"""How many parts fit in a row."""

_ROWS = 20
"""How many groups a table shows."""


def plain_grid(title: str, frames: Frames, about: About, shown: int, level: float) -> Grid:
    """The mean of each part with its interval, and how often it is positive."""
    header = ("mean", f"{100 * level:g} % interval", "> 0")
    misfit = _by_name(frames[1])["misfit"]["max"]
    fits = "within tolerance" if misfit <= 1 else f"{misfit:.1f} × tolerance"
    return _grid(title, header, frames, _mean_bounds_share, about, shown, fits=fits)


def empty_grid(title: str, about: About) -> Grid:
    """No row at all, and why."""
    return Grid(title, ("mean",), ((),), about.nothing())


def grouped_grid(
    title: str, frames: Frames, groups: Sequence[tuple[str, Frames]], about: About, shown: int, level: float
) -> Grid:
    """The mean of each part over all rows and over each group, with half of its interval where there is room."""
    columns = [("all", frames), *groups]
    if len(groups) > _COLUMNS:
        return _groups_as_rows(title, columns, about, shown)
    parts, sums = (frame.assign(place=range(len(frame)), which=i) for i, frame in enumerate(frames))
    texts = [[[_mean_and_reach(row) for row in _records(each[i])] for _, each in columns] for i in (0, 1)]

    def cells(row: Row) -> tuple[str, ...]:
        return tuple(column[row["place"]] for column in texts[row["which"]])

    return _grid(title, tuple(name for name, _ in columns), (parts, sums), cells, about, shown, _reach(level))


def _groups_as_rows(title: str, groups: Sequence[tuple[str, Frames]], about: About, shown: int) -> Grid:
    parts = groups[0][1][0]["part"]
    strength = np.max([frames[0]["mean"].abs().to_numpy() for _, frames in groups], axis=0)
    strongest = (-strength).argsort(kind="stable")[: min(shown, _PARTS)].tolist()
    lines = []
    for name, (numbers, sums) in groups[: _ROWS + 1]:
        logit = _by_name(sums)["logit"]
        means = [_mean(row) for row in _records(numbers.iloc[strongest])]
        lines.append(Line(name, (str(logit["count"]), *means, _mean(logit))))
    header = ("prompts", *parts.iloc[strongest], "logit")
    more = f"{len(groups) - len(lines)} more groups: see to_dataframe(). " if len(groups) > len(lines) else ""
    note = (more + _note(about, _by_name(groups[0][1][1]))).strip()
    return Grid(title, header, (tuple(lines[:1]), tuple(lines[1:])), note, rows="group")


def compared_grid(title: str, frames: Frames, about: About, shown: int, level: float) -> Grid:
    """The mean of either sweep, and of the differences with half the width of its interval."""
    header = ("first", "second", "difference")
    return _grid(title, header, frames, _both_and_difference, about, shown, _reach(level))


def ends_of(parts: pd.DataFrame, about: About, shown: int) -> list[pd.DataFrame]:
    """The rows of a table, largest mean first: all of them, or both ends. Cumulative rows keep their order."""
    if not about.additive:
        return [parts]
    ranked = parts.sort_values("mean", ascending=False, kind="stable")
    return [ranked] if len(ranked) <= 2 * shown else [ranked[:shown], ranked[len(ranked) - shown :]]


def _grid(
    title: str,
    header: tuple[str, ...],
    frames: Frames,
    cells: Cells,
    about: About,
    shown: int,
    note: str = "",
    fits: str = "",
) -> Grid:
    ends = [
        tuple(Line(str(row["part"]), cells(row), row["mean"] if row["count"] else None) for row in _records(end))
        for end in ends_of(frames[0], about, shown)
    ]
    sums = _by_name(frames[1])
    proof = {
        "sum of the parts" if about.additive else "the last row": "total",
        "constant": "constant",
        "the model's own logit": "logit",
    }
    lines = tuple(Line(words, cells(sums[name])) for words, name in proof.items())
    gap = max(abs(sums["gap"]["min"]), abs(sums["gap"]["max"]))
    last = Line("largest gap", (signed(gap), fits, *[""] * (len(header) - 2)))
    return Grid(title, header, (*ends, (*lines, last)), (note + _note(about, sums)).strip())


def _note(about: About, sums: Mapping[str, Row]) -> str:
    """What a reader must know of the rows beside their means."""
    misfit = sums["misfit"]["max"]
    beyond = f"The largest gap is {misfit:.1f} times its tolerance. " if misfit > 1 else ""
    rejected = f"{about.rejected} rows were rejected. " if about.rejected else ""
    return beyond + rejected + ("" if about.complete else "The sweep is not complete.")


def _records(frame: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _by_name(sums: pd.DataFrame) -> dict[str, Row]:
    return {row["sum"]: row for row in _records(sums)}


def _mean_bounds_share(row: Row) -> tuple[str, ...]:
    return signed(row["mean"]), _bounds(row), f"{100 * row['positive']:.1f} %"


def _both_and_difference(row: Row) -> tuple[str, ...]:
    return signed(row["first"]), signed(row["second"]), f"{signed(row['mean'])} ±{_half(row):.4f}"


def _mean(row: Row) -> str:
    return f"{row['mean']:+.2f}"


def _mean_and_reach(row: Row) -> str:
    return f"{row['mean']:+.2f} ±{_half(row):.2f}"


def _bounds(row: Row) -> str:
    return f"[{row['low']:+.4f}, {row['high']:+.4f}]"


def _half(row: Row) -> float:
    return float(row["high"] - row["low"]) / 2


def _reach(level: float) -> str:
    return f"±: half of the {100 * level:g} % interval. "
