"""The rows that two sweeps of one corpus have in common."""

from collections.abc import Iterable, Iterator
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import UInt64

from dla.summaries.row_batches import Plain, RowBatch, joined, plain_values
from dla.summaries.row_keys import PAIRING, row_keys
from dla.summaries.subject import SUM_MEASURES, SummarySubject
from dla.text import some_of

_REMEDY = "Differences are taken between sweeps that ask the same of each prompt; sweep again with the same corpus."


@final
class RowPairing:
    """Finds the rows that two sweeps have in common, while both are read once.

    A row waits until it is read of the other sweep too. If both took their rows in the same order few have to; at
    worst, the rows of one wait until the other is read.
    """

    def __init__(self, first: Iterable[RowBatch], second: Iterable[RowBatch]) -> None:
        self._sources = {0: iter(first), 1: iter(second)}
        self._waiting: dict[int, tuple[UInt64[np.ndarray, " row"], RowBatch]] = {}

    @property
    def waiting(self) -> tuple[int, int]:
        """How many rows of either have no partner so far."""
        first, second = (len(self._waiting[side][0]) if side in self._waiting else 0 for side in (0, 1))
        return first, second

    def pairs(self) -> Iterator[tuple[RowBatch, RowBatch]]:
        """The pairs, some at a time: the same prompts in the same order."""
        while self._sources:
            side = min(self._sources, key=self.waiting.__getitem__)
            rows = next(self._sources[side], None)
            if rows is None:
                del self._sources[side]
            elif len(rows.prompts):
                self._receive(side, rows)
                yield from self._matched()

    def _receive(self, side: int, rows: RowBatch) -> None:
        keys = row_keys(rows.prompts, PAIRING)
        if self.waiting[side]:
            held_keys, held = self._waiting[side]
            keys, rows = np.concatenate([held_keys, keys]), joined([held, rows])
        self._waiting[side] = keys, rows

    def _matched(self) -> Iterator[tuple[RowBatch, RowBatch]]:
        """The pairs among the rows that wait, which then wait no more."""
        if not all(self.waiting):
            return
        (first_keys, first), (second_keys, second) = self._waiting[0], self._waiting[1]
        common, *places = np.intersect1d(first_keys, second_keys, return_indices=True)
        if len(common):
            for side, place in enumerate(places):
                keys, rows = self._waiting[side]
                left = np.setdiff1d(np.arange(len(keys)), place)
                self._waiting[side] = keys[left], rows.take(left)
            yield first.take(places[0]), second.take(places[1])


def pair_difference(first: RowBatch, second: RowBatch) -> RowBatch:
    """What the first has more than the second, pair by pair. Their tolerances add up."""
    values = first.values - second.values
    allowed = first.prompts["tolerance"].to_numpy() + second.prompts["tolerance"].to_numpy()
    gap = values[:, SUM_MEASURES.index("gap") - len(SUM_MEASURES)]
    values[:, SUM_MEASURES.index("misfit") - len(SUM_MEASURES)] = np.abs(gap) / np.where(allowed > 0, allowed, np.inf)
    return RowBatch(first.prompts, values)


def check_directions(first: SummarySubject, second: SummarySubject) -> None:
    """Checks that both ask for logits, or both for differences.

    Raises:
        ValueError: If not.
    """
    if first.direction != second.direction:
        raise ValueError(
            f"The sweep in {some_of(first.folders)} asks for the {first.direction}, and the one in "
            f"{some_of(second.folders)} for the {second.direction}. {_REMEDY}"
        )


def check_pairs(pairs: tuple[RowBatch, RowBatch], first: SummarySubject, second: SummarySubject) -> None:
    """Checks that each pair of rows asks for the same tokens at the same position.

    Raises:
        ValueError: If one does not; names the first.
    """
    another_tokenizer = first.identity["tokenizer"] != second.identity["tokenizer"]
    questions = [_questions(rows.prompts) for rows in pairs]
    each = zip(pairs[0].prompts["row"].tolist(), *questions, strict=True)
    for row, one, other in sorted(each, key=lambda pair: pair[0]):
        if one != other:
            raise ValueError(
                f"Row {row} asks for {_words(one)} in {some_of(first.folders)}, and for {_words(other)} in "
                f"{some_of(second.folders)}. {_REMEDY}"
            )
        if another_tokenizer and any(isinstance(token, int) for token in one[:2]):
            raise ValueError(
                f"Row {row} gives its tokens as ids ({_words(one)}), and the two models' tokenizers differ: an id is "
                "another token to each. Sweep with the tokens' texts."
            )


def _questions(prompts: pd.DataFrame) -> list[tuple[Plain, Plain, int]]:
    """The answer, the incorrect token and the position of each row.

    Positions count from the end: another tokenizer, or a BOS token, moves the beginning.
    """
    places = (prompts["at"] - prompts["tokens"]).tolist()
    return list(zip(plain_values(prompts, "answer"), plain_values(prompts, "incorrect"), places, strict=True))


def _words(question: tuple[Plain, Plain, int]) -> str:
    answer, incorrect, place = question
    return f"{answer!r}{'' if incorrect is None else f' - {incorrect!r}'} at position {place}"
