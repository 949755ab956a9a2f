"""The rows of a sweep's folder, some thousands at a time."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from dla.errors import FileFormatError
from dla.summaries.about import SUMS
from dla.summaries.tally import Rows
from dla.sweeps import Shard, SweepFolder

_VALUES = 1_000_000
"""How many values are held at once. A shard holds one batch, and what is kept of rows costs the less the more come."""


def read_rows(folder: SweepFolder) -> Iterator[Rows]:
    """All rows, shard after shard, in pieces that do not grow with the corpus."""
    held: list[Rows] = []
    for shard in folder.shards():
        held.append(_rows(shard, folder))
        if sum(rows.values.size for rows in held) >= _VALUES:
            yield _together(held)
            held = []
    if held:
        yield _together(held)


def _rows(shard: Shard, folder: SweepFolder) -> Rows:
    prompts = shard.prompts
    misfit = prompts["gap"].abs() / prompts["tolerance"].where(prompts["tolerance"] > 0, np.inf)
    sums = [*(prompts[name] for name in SUMS[:-1]), misfit]
    values = np.column_stack([shard.values.astype(np.float64), *(column.to_numpy(np.float64) for column in sums)])
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        place, measure = wrong[0].tolist()
        name = [*folder.labels, *SUMS][measure]
        raise FileFormatError(
            f"Row {prompts['row'].iloc[place]} of {str(folder.path)!r} holds {values[place, measure]} for {name!r}, "
            "and a mean needs numbers. Leave the row out of the corpus, or run the model in a wider dtype."
        )
    return Rows(prompts, values)


def _together(pieces: Sequence[Rows]) -> Rows:
    frames = [rows.prompts for rows in pieces if len(rows.prompts)] or [pieces[0].prompts]
    return Rows(pd.concat(frames, ignore_index=True), np.concatenate([rows.values for rows in pieces]))
