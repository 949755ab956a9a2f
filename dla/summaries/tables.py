"""A summary as the table that is printed."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dla.summaries.subject import SUM_MEASURES, SummarySubject
from dla.views.compared import COMPARED
from dla.views.grid import Grid, Line, signed

Statistics = Mapping[Hashable, Any]
"""The numbers of one part or sum: a row of a data frame."""

TableColumn = tuple[str, pd.DataFrame, Callable[[Statistics], str]]
"""What stands above a column of a table, the numbers that it shows, and what it shows of them in one row."""

_PARTS = 5  # how many parts fit in a row

GROUP_ROWS = 20
"""How many groups a table shows."""


def plain_grid(title: str, numbers: pd.DataFrame, about: SummarySubject, shown: int, level: float) -> Grid:
    """The mean of each part with its interval, and how often it is positive."""
    columns: list[TableColumn] = [
        ("mean", numbers, _mean),
        (f"{100 * level:g} % interval", numbers, lambda row: f"[{row['low']:+.4f}, {row['high']:+.4f}]"),
        ("> 0", numbers, lambda row: f"{100 * row['positive']:.1f} %"),
    ]
    misfit = _sum(numbers, "misfit")["max"]
    fits = "within tolerance" if misfit <= 1 else f"{misfit:.1f} × tolerance"
    return _parts_as_rows(title, columns, about, shown, fits=fits)


def grouped_grid(
    title: str, groups: Sequence[tuple[str, pd.DataFrame]], about: SummarySubject, shown: int, level: float
) -> Grid:
    """The mean of each part in each group, with half of its interval; parts rank by the first group."""
    columns: list[TableColumn] = [
        (name, numbers, lambda row: f"{row['mean']:+.2f} ±{_half(row):.2f}") for name, numbers in groups
    ]
    return _parts_as_rows(title, columns, about, shown, note=_reach(level))


def compared_grid(title: str, numbers: pd.DataFrame, about: SummarySubject, shown: int, level: float) -> Grid:
    """The mean of either sweep, and of the differences with half the width of its interval."""
    columns: list[TableColumn] = [
        (COMPARED[0], numbers, lambda row: signed(row["first"])),
        (COMPARED[1], numbers, lambda row: signed(row["second"])),
        (COMPARED[2], numbers, lambda row: f"{_mean(row)} ±{_half(row):.4f}"),
    ]
    return _parts_as_rows(title, columns, about, shown, note=_reach(level))


def many_groups_grid(
    title: str, groups: Sequence[tuple[str, pd.DataFrame]], about: SummarySubject, shown: int, there: int
) -> Grid:
    """A row per group, and all rows first; the columns are the parts that are strongest in any of them.

    Args:
        title: What stands above.
        groups: All rows, and the largest groups.
        about: What the summary is of.
        shown: How many parts to show at most.
        there: How many groups there are.
    """
    means = np.stack([numbers["mean"].to_numpy() for _, numbers in groups])
    strongest = np.argsort(-np.abs(means[:, : len(about.parts)]).max(0), kind="stable")[: min(shown, _PARTS)].tolist()
    measures = [*strongest, len(about.parts) + SUM_MEASURES.index("logit")]
    lines = [
        Line(name, (str(numbers["count"].iloc[0]), *(f"{mean:+.2f}" for mean in of_group[measures])))
        for (name, numbers), of_group in zip(groups, means, strict=True)
    ]
    labels, left = [*about.labels, *SUM_MEASURES], there + 1 - len(lines)
    more = f"These are the largest groups; {left} more are in to_dataframe(). " if left else ""
    note = (more + _note(about, groups[0][1])).strip()
    header = ("prompts", *(labels[i] for i in measures))
    return Grid(title, header, (tuple(lines[:1]), tuple(lines[1:])), note, rows="group")


def _parts_as_rows(
    title: str, columns: Sequence[TableColumn], about: SummarySubject, shown: int, *, note: str = "", fits: str = ""
) -> Grid:
    """The parts by their means in the first column, then the sums that prove them."""
    header, (numbers, *_), _ = zip(*columns, strict=True)
    ranked, sums = numbers[: len(about.parts)], numbers[len(about.parts) :]
    ends = [ranked]
    if about.additive:  # others keep their order
        ranked = ranked.sort_values("mean", ascending=False, kind="stable")
        ends = [ranked] if len(ranked) <= 2 * shown else [ranked[:shown], ranked[len(ranked) - shown :]]
    sections = [_lines(columns, end, end["part"], end["mean"]) for end in ends]
    words = ("sum of the parts" if about.additive else "the last row", "constant", "the model's own logit")
    proof = _lines(columns, sums[: len(words)], words, [None] * len(words))  # as `SUM_MEASURES` begin
    gap = _sum(numbers, "gap")
    last = Line("largest gap", (signed(max(abs(gap["min"]), abs(gap["max"]))), fits, *[""] * (len(columns) - 2)))
    return Grid(title, header, (*sections, (*proof, last)), (note + _note(about, numbers)).strip())


def _lines(
    columns: Sequence[TableColumn], rows: pd.DataFrame, labels: Iterable[str], bars: Iterable[float | None]
) -> tuple[Line, ...]:
    texts = [[text(row) for row in numbers.loc[rows.index].to_dict("records")] for _, numbers, text in columns]
    cells = zip(*texts, strict=True)
    return tuple(Line(label, each, bar) for label, each, bar in zip(labels, cells, bars, strict=True))


def _note(about: SummarySubject, numbers: pd.DataFrame) -> str:
    """What a reader must know of the rows next to their means."""
    misfit = _sum(numbers, "misfit")["max"]
    beyond = f"The largest gap is {misfit:.1f} times its tolerance. " if misfit > 1 else ""
    rejected = f"{about.rejected} rows were rejected. " if about.rejected else ""
    return beyond + rejected + ("" if about.complete else "The sweep is not complete.")


def _sum(numbers: pd.DataFrame, name: str) -> Statistics:
    return numbers.iloc[SUM_MEASURES.index(name) - len(SUM_MEASURES)].to_dict()


def _mean(row: Statistics) -> str:
    return signed(row["mean"])


def _half(row: Statistics) -> float:
    return float(row["high"] - row["low"]) / 2


def _reach(level: float) -> str:
    return f"±: half of the {100 * level:g} % interval. "
