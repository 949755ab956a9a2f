"""The prompts on which each measure is largest and smallest, in a form that can be merged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from dla.text import shortened
from dla.views.grid import Grid, signed

Text = tuple[Any, ...]
"""Row, prompt, answer and incorrect answer."""


_AT_ONCE = 256  # how many are put together before they are cut


@final
@dataclass(frozen=True)
class ExtremePrompt:
    """A prompt on which a part's value is among the largest or the smallest.

    Attributes:
        row: Its row in the corpus.
        value: What the part contributed there, in logits.
        prompt: The prompt.
        answer: What was asked for.
        incorrect: What it was compared with, if it was.
    """

    row: int
    value: float
    prompt: str
    answer: str | int | None
    incorrect: str | int | None

    def __repr__(self) -> str:
        tokens = f", {self._tokens()}" if self._tokens() else ""
        return f"ExtremePrompt(row {self.row}, {signed(self.value)}: {shortened(self.prompt)!r}{tokens})"

    def _repr_html_(self) -> str:
        row = (str(self.row), signed(self.value), self.prompt, self._tokens())
        return Grid.of_rows("", ("row", "logits", "prompt", "tokens"), [row]).html()

    def _tokens(self) -> str:
        return " - ".join(repr(each) for each in (self.answer, self.incorrect) if each is not None)


@final
@dataclass(frozen=True, eq=False)
class Extremes:
    """The `k` largest and the `k` smallest values of each measure, with the rows that have them.

    Of equal values the row with the smaller key is kept, so the result does not depend on the order of rows. Up to `k`
    rows are kept as they come: most of many groups have no more, and are never sorted.

    Attributes:
        keys: The rows' keys, at the ends of the largest and of the smallest values.
        values: The values.
        texts: What the rows say, by their keys.
        k: How many are kept at most.
    """

    keys: UInt64[np.ndarray, "end=2 measure kept"]
    values: Float64[np.ndarray, "end=2 measure kept"]
    texts: Mapping[int, Text]
    k: int

    @classmethod
    def of(
        cls,
        values: Float64[np.ndarray, "row measure"],
        keys: UInt64[np.ndarray, " row"],
        texts: Sequence[Text],
        k: int,
    ) -> "Extremes":
        """The extremes of some rows, or of none: their measures, their keys and what they say."""
        near = _near_the_ends(values, k)
        kept, own = keys[near], np.ascontiguousarray(values[near])
        keyed = dict(zip(kept.tolist(), (texts[place] for place in near.tolist()), strict=True))
        # one row of memory for all measures and both ends; `np.broadcast_to` takes longer than all else here
        shape, step = (2, own.shape[1], len(near)), own.itemsize
        all_keys = np.ndarray(shape, kept.dtype, kept, strides=(0, 0, step))
        both_ends = np.ndarray(shape, own.dtype, own, strides=(0, step, step * own.shape[1]))
        return cls(all_keys, both_ends, keyed, k)._cut()

    @classmethod
    def together(cls, several: Sequence["Extremes"]) -> "Extremes":
        """The extremes of the rows of all, of which there is at least one."""
        held = several[0]
        for start in range(1, len(several), _AT_ONCE):
            piece = [held, *several[start : start + _AT_ONCE]]
            keys, values = ([getattr(each, name) for each in piece] for name in ("keys", "values"))
            texts = {key: text for each in piece for key, text in each.texts.items()}
            held = cls(np.concatenate(keys, 2), np.concatenate(values, 2), texts, held.k)._cut()
        return held

    def merge(self, other: "Extremes") -> "Extremes":
        """The extremes of the rows of both."""
        return self.together([self, other])

    def select(self, measures: Int64[np.ndarray, " some"]) -> "Extremes":
        """Only some of the measures."""
        keys = self.keys[:, measures]
        used = set(keys.ravel().tolist())
        texts = {key: text for key, text in self.texts.items() if key in used}
        return Extremes(keys, self.values[:, measures], texts, self.k)

    def prompts(self, measure: int, end: int, k: int) -> list[ExtremePrompt]:
        """The first `k` rows at one end: 0 for the largest values, 1 for the smallest."""
        best = self._order()[end, measure, :k]
        found = zip(self.keys[end, measure, best].tolist(), self.values[end, measure, best].tolist(), strict=True)
        rows = [(value, *self.texts[key]) for key, value in found]
        return [ExtremePrompt(row, value, prompt, *tokens) for value, row, prompt, *tokens in rows]

    def ordered(self) -> "Extremes":
        """The same, the largest of the largest values first, and the smallest of the smallest."""
        best = self._order()
        keys, values = (np.take_along_axis(array, best, 2) for array in (self.keys, self.values))
        return Extremes(keys, values, self.texts, self.k)

    def _order(self) -> Int64[np.ndarray, "end=2 measure kept"]:
        signed = self.values * np.array([-1.0, 1.0])[:, None, None]
        order: Int64[np.ndarray, "end=2 measure kept"] = np.lexsort((self.keys, signed), axis=2)
        return order

    def _cut(self) -> "Extremes":
        """The `k` best at either end, and the texts of those only."""
        if self.keys.shape[2] <= self.k:
            return self
        best = self._order()[:, :, : self.k]
        keys, values = (np.take_along_axis(array, best, 2) for array in (self.keys, self.values))
        used = set(keys.ravel().tolist())
        return Extremes(keys, values, {key: text for key, text in self.texts.items() if key in used}, self.k)


def _near_the_ends(values: Float64[np.ndarray, "row measure"], k: int) -> Int64[np.ndarray, " some"]:
    """The rows that are among the `k` largest or smallest in any measure, equal values included; sorts far less."""
    if not 0 < k < len(values):
        return np.arange(len(values) if k else 0)
    columns = np.ascontiguousarray(values.T)
    sides = np.partition(columns, (k - 1, len(values) - k), axis=1)
    smallest, largest = sides[:, [k - 1]], sides[:, [-k]]
    return np.flatnonzero(((columns <= smallest) | (columns >= largest)).any(0))
