"""The prompts on which each measure is largest and smallest, in a form that can be merged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from dla.views.brief import shortened
from dla.views.grid import signed
from dla.views.html import html_rows


@final
@dataclass(frozen=True)
class Example:
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
        return f"Example(row {self.row}, {signed(self.value)}: {shortened(self.prompt)!r}, {self._asked()})"

    def _repr_html_(self) -> str:
        row = (str(self.row), signed(self.value), self.prompt, self._asked())
        return html_rows("", ("row", "logits", "prompt", "asked"), [row])

    def _asked(self) -> str:
        return repr(self.answer) if self.incorrect is None else f"{self.answer!r} - {self.incorrect!r}"


Text = tuple[int, str, str | int | None, str | int | None]
"""Row, prompt, answer and incorrect answer."""


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
    def empty(cls, n: int, k: int) -> "Extremes":
        """No rows of `n` measures."""
        return cls(np.zeros((2, n, k), np.uint64), np.full((2, n, k), np.nan), {})

    @classmethod
    def of(
        cls,
        values: Float64[np.ndarray, "row measure"],
        keys: UInt64[np.ndarray, " row"],
        texts: Sequence[Text],
        k: int,
    ) -> "Extremes":
        """The extremes of some rows: their measures, their keys and what they say."""
        order = np.argsort(keys)
        columns, ordered = np.ascontiguousarray(values[order].T), keys[order]
        # the sort is stable, so equal values stay in the order of their keys
        ends = [np.argsort(sign * columns, axis=1, kind="stable")[:, :k] for sign in (-1, 1)]
        places = np.stack(ends)
        found = np.stack([np.take_along_axis(columns, end, 1) for end in ends])
        short = [(0, 0), (0, 0), (0, k - places.shape[2])]
        said = {int(keys[order[place]]): texts[order[place]] for place in np.unique(places)}
        return cls(np.pad(ordered[places], short), np.pad(found, short, constant_values=np.nan), said)

    def merge(self, other: "Extremes") -> "Extremes":
        """The extremes of the rows of both."""
        keys, values = np.concatenate([self.keys, other.keys], 2), np.concatenate([self.values, other.values], 2)
        signs = np.array([-1.0, 1.0])[:, None, None]
        # NaN is sorted to the end
        best = np.lexsort((keys, signs * values), axis=2)[:, :, : self.keys.shape[2]]
        merged = Extremes(
            np.take_along_axis(keys, best, 2), np.take_along_axis(values, best, 2), {**self.texts, **other.texts}
        )
        return merged._without_unused()

    def select(self, measures: Int64[np.ndarray, " some"]) -> "Extremes":
        """Only some of the measures."""
        return Extremes(self.keys[:, measures], self.values[:, measures], self.texts)._without_unused()

    def examples(self, measure: int, end: int, k: int) -> list[Example]:
        """The first `k` rows at one end: 0 for the largest values, 1 for the smallest."""
        pairs = zip(self.keys[end, measure].tolist(), self.values[end, measure].tolist(), strict=True)
        found = [(self.texts[key], value) for key, value in pairs if value == value]
        return [Example(row, value, prompt, *asked) for (row, prompt, *asked), value in found[:k]]

    def _without_unused(self) -> "Extremes":
        used = set(self.keys[~np.isnan(self.values)].tolist())
        return Extremes(self.keys, self.values, {key: text for key, text in self.texts.items() if key in used})
