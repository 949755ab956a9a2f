"""The rows of a sweep's folder, some thousands at a time."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from dla.errors import FileFormatError
from dla.summaries.about import SUMS
from dla.summaries.tally import RowBatch
from dla.sweeps import Shard, SweepFolder

_VALUES = 1_000_000
"""How many values are held at once. A shard holds one batch, and what is kept of rows costs the less the more come."""


def read_rows(folder: SweepFolder, labels: Sequence[str] | None = None) -> Iterator[RowBatch]:
    """All rows, shard after shard, in pieces that do not grow with the corpus.

    Args:
        folder: The folder.
        labels: The parts to read, in that order; None for all.
    """
    known = {label: place for place, label in enumerate(folder.labels)}
    parts = np.array([known[label] for label in (folder.labels if labels is None else labels)], dtype=np.int64)
    held: list[RowBatch] = []
    for shard in folder.shards():
        held.append(
            _checked(RowBatch(shard.prompts, _measures(shard, parts)), [folder.labels[i] for i in parts], folder)
        )
        if sum(rows.values.size for rows in held) >= _VALUES:
            yield _together(held)
            held = []
    if held:
        yield _together(held)


def _measures(shard: Shard, parts: Int64[np.ndarray, " part"]) -> Float64[np.ndarray, "row measure"]:
    """The parts and the sums of each prompt."""
    prompts = shard.prompts
    misfit = prompts["gap"].abs() / prompts["tolerance"].where(prompts["tolerance"] > 0, np.inf)
    sums = [column.to_numpy(np.float64) for column in (*(prompts[name] for name in SUMS[:-1]), misfit)]
    return np.column_stack([shard.values[:, parts].astype(np.float64), *sums])


def _checked(rows: RowBatch, labels: Sequence[str], folder: SweepFolder) -> RowBatch:
    wrong = np.argwhere(~np.isfinite(rows.values))
    if len(wrong):
        place, measure = wrong[0].tolist()
        raise FileFormatError(
            f"Row {rows.prompts['row'].iloc[place]} of {str(folder.path)!r} holds {rows.values[place, measure]} for "
            f"{[*labels, *SUMS][measure]!r}, and a mean needs numbers. Leave the row out of the corpus, or run the "
            "model in a wider dtype."
        )
    return rows


def _together(pieces: Sequence[RowBatch]) -> RowBatch:
    frames = [rows.prompts for rows in pieces if len(rows.prompts)] or [pieces[0].prompts]
    return RowBatch(pd.concat(frames, ignore_index=True), np.concatenate([rows.values for rows in pieces]))
