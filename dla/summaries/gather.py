"""One pass over the rows of a sweep, or of two in step."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt64

from dla.errors import FileFormatError
from dla.summaries.about import SUMS
from dla.summaries.keys import PAIRING, row_keys
from dla.summaries.tally import RowBatch, SummarySettings, Tallies, common_rows, merged, tallies_of


def gather(pieces: Iterable[RowBatch], settings: SummarySettings) -> Tallies:
    """The tallies of all rows; no piece is kept.

    Raises:
        FileFormatError: If rows are there twice.
    """
    all_rows: Tallies = {}
    for rows in pieces:
        found = tallies_of(rows, settings)
        twice = common_rows(all_rows, found) + sum(tally.sample.repeated() for tally in found.values())
        if twice:
            raise FileFormatError(
                f"The shards hold {twice} rows or more twice, the same row of the same corpus. Files were copied into "
                "the folder, or another program wrote to it. Delete it, and sweep again."
            )
        all_rows = merged(all_rows, found)
    return all_rows


@final
@dataclass(frozen=True, eq=False)
class Pairs:
    """Block of two sweeps, the same prompts in the same order."""

    first: RowBatch
    second: RowBatch

    def difference(self) -> RowBatch:
        """What the first has more than the second. Their tolerances add up."""
        values = self.first.values - self.second.values
        allowed = self.first.prompts["tolerance"].to_numpy() + self.second.prompts["tolerance"].to_numpy()
        gap = values[:, SUMS.index("gap") - len(SUMS)]
        values[:, SUMS.index("misfit") - len(SUMS)] = np.abs(gap) / np.where(allowed > 0, allowed, np.inf)
        return RowBatch(self.first.prompts, values)


@final
class Pairing:
    """Finds the rows that two sweeps have in common, while both are read once.

    A row waits until the other sweep comes to it. If both took their rows in the same order few have to; at worst, the
    rows of one wait until the other is read.
    """

    def __init__(self, first: Iterable[RowBatch], second: Iterable[RowBatch]) -> None:
        self._sources = iter(first), iter(second)
        self._waiting: list[tuple[UInt64[np.ndarray, " row"], RowBatch] | None] = [None, None]

    @property
    def waiting(self) -> tuple[int, int]:
        """How many rows of either have no partner so far."""
        first, second = (0 if held is None else len(held[0]) for held in self._waiting)
        return first, second

    def pairs(self) -> Iterator[Pairs]:
        """The pairs, piece by piece."""
        open_sides = [0, 1]
        while open_sides:
            side = min(open_sides, key=lambda side: self.waiting[side])
            rows = next(self._sources[side], None)
            if rows is None:
                open_sides.remove(side)
                continue
            if len(rows.prompts):
                self._receive(side, rows)
            found = self._matched()
            if found is not None:
                yield found

    def _receive(self, side: int, rows: RowBatch) -> None:
        keys, held = row_keys(rows.prompts, PAIRING), self._waiting[side]
        if held is not None and len(held[0]):
            keys = np.concatenate([held[0], keys])
            prompts = pd.concat([held[1].prompts, rows.prompts], ignore_index=True)
            rows = RowBatch(prompts, np.concatenate([held[1].values, rows.values]))
        self._waiting[side] = keys, rows

    def _matched(self) -> Pairs | None:
        """The pairs among the rows that wait, which then wait no more."""
        first, second = self._waiting
        if first is None or second is None:
            return None
        _, *places = np.intersect1d(first[0], second[0], return_indices=True)
        found = Pairs(_taken(first[1], places[0]), _taken(second[1], places[1]))
        for side, ((keys, rows), place) in enumerate(zip((first, second), places, strict=True)):
            left = np.setdiff1d(np.arange(len(keys)), place)
            self._waiting[side] = keys[left], _taken(rows, left)
        return found if len(places[0]) else None


def _taken(rows: RowBatch, places: Int64[np.ndarray, " some"]) -> RowBatch:
    return RowBatch(rows.prompts.iloc[places].reset_index(drop=True), rows.values[places])
