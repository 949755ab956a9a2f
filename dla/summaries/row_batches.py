"""The rows of a sweep's folder, some thousands at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from dla.errors import FileFormatError
from dla.summaries.subject import SUM_MEASURES
from dla.sweeps import Shard, SweepFolder

Plain = str | int | float | bool | None
"""A value that can be compared, printed and stored."""

_PLAIN = {str, int, bool, type(None)}
# How many values are held at once. A shard holds one batch, and many rows are tallied faster together.
_VALUES = 1_000_000


@final
@dataclass(frozen=True, eq=False)
class RowBatch:
    """Some rows of a sweep.

    Attributes:
        prompts: What was asked: row, prompt, answer and so on.
        values: What each part contributed in each row, in logits, and after them `SUM_MEASURES`.
    """

    prompts: pd.DataFrame
    values: Float64[np.ndarray, "row measure"]

    def take(self, places: Int64[np.ndarray, " some"]) -> "RowBatch":
        """Only some of the rows."""
        return RowBatch(self.prompts.iloc[places].reset_index(drop=True), self.values[places])


def joined(batches: Sequence[RowBatch]) -> RowBatch:
    """The rows of all batches, of which there is at least one."""
    # a frame without rows would change the dtypes of the others
    frames = [rows.prompts for rows in batches if len(rows.prompts)] or [batches[0].prompts]
    return RowBatch(pd.concat(frames, ignore_index=True), np.concatenate([rows.values for rows in batches]))


def read_rows(folder: SweepFolder, labels: Sequence[str] | None = None) -> Iterator[RowBatch]:
    """All rows, shard after shard, in batches whose size does not grow with the corpus.

    Args:
        folder: The folder.
        labels: The parts to read, in that order; None for all.

    Raises:
        FileFormatError: If a file is damaged, or a value is infinite or NaN.
    """
    known = {label: place for place, label in enumerate(folder.labels)}
    parts = np.array([known[label] for label in (folder.labels if labels is None else labels)], dtype=np.int64)
    held: list[RowBatch] = []
    for shard in folder.shards():
        held.append(_rows_of(shard, parts, folder))
        if sum(rows.values.size for rows in held) >= _VALUES:
            yield joined(held)
            held = []
    if held:
        yield joined(held)


def plain_values(prompts: pd.DataFrame, name: str) -> list[Plain]:
    """A column as plain values, or None for every row where there is no such column.

    What is missing becomes None. A whole number becomes an int: a column of numbers with gaps holds floats.
    """
    if name not in prompts.columns:
        return [None] * len(prompts)
    column = prompts[name]
    values = column.tolist()
    if column.hasnans:
        values = [None if missing else value for value, missing in zip(values, column.isna(), strict=True)]
    return values if set(map(type, values)) <= _PLAIN else [_plain(value) for value in values]


def _plain(value: object) -> Plain:
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return value if value is None or isinstance(value, str | bool | int) else str(value)


def _rows_of(shard: Shard, parts: Int64[np.ndarray, " part"], folder: SweepFolder) -> RowBatch:
    prompts = shard.prompts
    misfit = prompts["gap"].abs() / prompts["tolerance"].where(prompts["tolerance"] > 0, np.inf)
    sums = prompts[[*SUM_MEASURES[:-1]]].assign(misfit=misfit).to_numpy(np.float64)
    values = np.column_stack([shard.values[:, parts].astype(np.float64), sums])
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        place, measure = wrong[0].tolist()
        raise FileFormatError(
            f"Row {prompts['row'].iloc[place]} of {str(folder.path)!r} holds {values[place, measure]} for "
            f"{[*(folder.labels[i] for i in parts), *SUM_MEASURES][measure]!r}, and a mean needs numbers. Leave the "
            "row out of the corpus, or run the model in a wider dtype."
        )
    return RowBatch(prompts, values)
