"""A summary as the table that is printed."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from dla.summaries.about import About
from dla.views.grid import Grid, Line
from dla.views.table import number

Frames = tuple[pd.DataFrame, pd.DataFrame]
"""The numbers of the parts, and those of the sums."""

Row = Mapping[str, Any]

Cells = Callable[[Row], tuple[str, ...]]
"""What the columns show of a row."""

_WITH_REACH = 3
"""With more groups than that their columns show means alone."""

_MOST = 8
"""How many groups a table shows."""


def plain_grid(title: str, frames: Frames, about: About, shown: int, level: float) -> Grid:
    """The mean of each part with its interval, and how often it is positive."""
    header = ("mean", f"{100 * level:g} % interval", "> 0")
    return _grid(title, header, frames, _mean_bounds_share, about, shown)


def grouped_grid(
    title: str, frames: Frames, groups: Mapping[str, Frames], about: About, shown: int, level: float
) -> Grid:
    """The mean of each part over all rows and over each group; if the groups are few, with half of its interval."""
    some = dict(list(groups.items())[:_MOST])
    text = _mean_and_reach if len(some) <= _WITH_REACH else _mean
    columns = {"all": frames, **some}
    parts, sums = (
        frames[i].assign(**{name: [text(row) for row in _records(each[i])] for name, each in columns.items()})
        for i in (0, 1)
    )
    header = ("all", *some)
    note = _reach(level) if len(some) <= _WITH_REACH else ""
    note += f"{len(groups) - len(some)} more groups: see to_dataframe(). " if len(some) < len(groups) else ""
    return _grid(title, header, (parts, sums), lambda row: tuple(row[name] for name in header), about, shown, note)


def compared_grid(title: str, frames: Frames, about: About, shown: int, level: float) -> Grid:
    """The mean of either sweep, and of the differences with half the width of its interval."""
    header = ("first", "second", "difference")
    return _grid(title, header, frames, _both_and_difference, about, shown, _reach(level))


def ends_of(parts: pd.DataFrame, about: About, shown: int) -> list[pd.DataFrame]:
    """The rows of a table, largest mean first: all of them, or both ends. A trajectory keeps its order."""
    if not about.partition:
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
) -> Grid:
    ends = [
        tuple(Line(str(row["part"]), cells(row), float(row["mean"])) for row in _records(end))
        for end in ends_of(frames[0], about, shown)
    ]
    sums = _by_name(frames[1])
    proof = {
        "sum of the parts" if about.partition else "the last row": "total",
        "constant": "constant",
        "the model's own logit": "logit",
    }
    lines = tuple(Line(words, cells(sums[name])) for words, name in proof.items())
    gap, misfit = max(abs(sums["gap"]["min"]), abs(sums["gap"]["max"])), sums["misfit"]["max"]
    beyond = f"The largest gap is {misfit:.1f} times its tolerance. " if misfit > 1 else ""
    last = Line("largest gap", (number(gap), *[""] * (len(header) - 1)))
    rejected = f"{about.rejected} rows were rejected. " if about.rejected else ""
    unfinished = "" if about.complete else "The sweep is not complete."
    return Grid(title, header, (*ends, (*lines, last)), (note + beyond + rejected + unfinished).strip())


def _records(frame: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _by_name(sums: pd.DataFrame) -> dict[str, Row]:
    return {row["sum"]: row for row in _records(sums)}


def _mean_bounds_share(row: Row) -> tuple[str, ...]:
    return number(row["mean"]), _bounds(row), f"{100 * row['positive']:.0f} %"


def _both_and_difference(row: Row) -> tuple[str, ...]:
    return number(row["first"]), number(row["second"]), f"{number(row['mean'])} ±{_half(row):.4f}"


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
