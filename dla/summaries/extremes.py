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
        return f"ExtremePrompt(row {self.row}, {signed(self.value)}: {shortened(self.prompt)!r}, {self._tokens()})"

    def _repr_html_(self) -> str:
        row = (str(self.row), signed(self.value), self.prompt, self._tokens())
        return Grid.of_rows("", ("row", "logits", "prompt", "tokens"), [row]).html()

    def _tokens(self) -> str:
        return repr(self.answer) if self.incorrect is None else f"{self.answer!r} - {self.incorrect!r}"


@final
@dataclass(frozen=True, eq=False)
class Extremes:
    """The `k` largest and the `k` smallest values of each measure, with the rows that have them.

    Of equal values the row with the smaller key is kept, so the result does not depend on the order of rows.

    Attributes:
        keys: The rows' keys: of the largest values, largest first; of the smallest, smallest first.
        values: The values; NaN where there are fewer than `k`.
        texts: What the rows say, by their keys.
    """

    keys: UInt64[np.ndarray, "end=2 measure k"]
    values: Float64[np.ndarray, "end=2 measure k"]
    texts: Mapping[int, Text]

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
        shape = 2, values.shape[1], len(near)
        keyed = {int(keys[place]): texts[place] for place in near}
        return cls(np.broadcast_to(keys[near], shape), np.broadcast_to(values[near].T, shape), keyed)._cut(k)

    def merge(self, other: "Extremes") -> "Extremes":
        """The extremes of the rows of both."""
        keys, values = np.concatenate([self.keys, other.keys], 2), np.concatenate([self.values, other.values], 2)
        return Extremes(keys, values, {**self.texts, **other.texts})._cut(self.keys.shape[2])

    def select(self, measures: Int64[np.ndarray, " some"]) -> "Extremes":
        """Only some of the measures."""
        return Extremes(self.keys[:, measures], self.values[:, measures], self.texts)._cut(self.keys.shape[2])

    def prompts(self, measure: int, end: int, k: int) -> list[ExtremePrompt]:
        """The first `k` rows at one end: 0 for the largest values, 1 for the smallest."""
        found = zip(self.keys[end, measure, :k].tolist(), self.values[end, measure, :k].tolist(), strict=True)
        rows = [(value, *self.texts[key]) for key, value in found if value == value]
        return [ExtremePrompt(row, value, prompt, *tokens) for value, row, prompt, *tokens in rows]

    def _cut(self, k: int) -> "Extremes":
        """The `k` best at either end, and the texts of those only; filled up with NaN where there are fewer."""
        signed = self.values * np.array([-1.0, 1.0])[:, None, None]
        best = np.lexsort((self.keys, signed), axis=2)[:, :, :k]  # NaN is sorted to the end
        missing = [(0, 0), (0, 0), (0, k - best.shape[2])]
        keys = np.pad(np.take_along_axis(self.keys, best, 2), missing)
        values = np.pad(np.take_along_axis(self.values, best, 2), missing, constant_values=np.nan)
        used = set(keys.ravel().tolist())
        return Extremes(keys, values, {key: text for key, text in self.texts.items() if key in used})


def _near_the_ends(values: Float64[np.ndarray, "row measure"], k: int) -> Int64[np.ndarray, " some"]:
    """The rows that are among the `k` largest or smallest in any measure, equal values included; sorts far less."""
    if not 0 < k < len(values):
        return np.arange(len(values) if k else 0)
    columns = np.ascontiguousarray(values.T)
    sides = np.partition(columns, (k - 1, len(values) - k), axis=1)
    smallest, largest = sides[:, [k - 1]], sides[:, [-k]]
    return np.flatnonzero(((columns <= smallest) | (columns >= largest)).any(0))
