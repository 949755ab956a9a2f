"""How the rows of a corpus fall into groups."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, final

import numpy as np
import pandas as pd
from jaxtyping import Int64

from dla.inputs.arguments import function, name
from dla.inputs.given import items, shown
from dla.summaries.row_batches import Plain, plain_values
from dla.text import some_of

Derived = Callable[[pd.DataFrame], pd.Series]
"""Computes a column from some of the prompts, row by row."""

if TYPE_CHECKING:
    By = str | Sequence[str] | Mapping[str, str | Derived] | None
else:  # a type checker at run time would refuse a wrong argument before `GroupBy.by` can explain what is wrong
    By = object
"""A column of the corpus, several, or names with a column or a function each."""

Group = tuple[Plain, ...]
"""The value of each column that rows are split by."""

# The other columns of a summary's data frame.
_TAKEN = frozenset(
    "part sum kind layer index head count first second mean low high variance standard_error min max positive".split()
)


_COMPARED = 200
"""How many characters of a column that is not there are compared with those that are."""


@final
@dataclass(frozen=True)
class GroupBy:
    """The columns that say which group a row belongs to.

    Attributes:
        names: What the columns are called in the summary.
        columns: Where each comes from; a summary read from a file does not know it of computed columns.
    """

    names: tuple[str, ...]
    columns: tuple[str | Derived | None, ...]

    @classmethod
    def by(cls, by: By) -> "GroupBy":
        """The split that a user asks for.

        Raises:
            TypeError: If it is none: a name that is no text, or a column that is neither a text nor a function.
        """
        if isinstance(by, Mapping):
            return cls(tuple(name(column, "A group") for column in by), tuple(map(_source, by.values())))
        columns = [by] if isinstance(by, str) else [] if by is None else items(by)
        if columns is None or not all(isinstance(column, str) for column in columns):
            raise TypeError(f"by={shown(by)} names no columns. Pass the name of one, several names, or a dict.")
        return cls(tuple(columns), tuple(columns))

    def check(self, columns: Sequence[str]) -> None:
        """Checks the split against the corpus' columns.

        Raises:
            ValueError: If there is no such column, or the data frame has another of that name.
        """
        there = frozenset(columns)
        for called, times in Counter(self.names).items():
            if called in _TAKEN or times > 1:
                instead = f"by={{'the {called}': {called!r}}}"
                raise ValueError(f"A summary has another column {called!r}. Call it something else: {instead}.")
        for source in self.columns:
            if isinstance(source, str) and source not in there:
                close = get_close_matches(source[:_COMPARED], columns, 3)
                likely = f" Close to it: {some_of(close)}." if close else ""
                raise ValueError(f"There is no column {shown(source)}; the corpus has {some_of(columns, 20)}.{likely}")

    def groups(self, prompts: pd.DataFrame) -> dict[Group, Int64[np.ndarray, " row"]]:
        """The places of the rows of each group that there is.

        Raises:
            ValueError: If a computed column does not fit, or how it was computed is not known.
        """
        if not self.names:
            return {(): np.arange(len(prompts))} if len(prompts) else {}
        columns = [self._column(name, source, prompts) for name, source in zip(self.names, self.columns, strict=True)]
        places: dict[Group, list[int]] = {}
        for place, group in enumerate(zip(*columns, strict=True)):
            places.setdefault(group, []).append(place)
        return {group: np.array(rows, dtype=np.int64) for group, rows in places.items()}

    def title(self, group: Group) -> str:
        """A group in words, such as `order=ABBA, template=went`."""
        return ", ".join(f"{name}={value}" for name, value in zip(self.names, group, strict=True))

    def _column(self, name: str, source: str | Derived | None, prompts: pd.DataFrame) -> list[Plain]:
        if source is None:
            raise ValueError(f"How {name!r} was computed is not in the file of a summary. Make the summary again.")
        if isinstance(source, str):
            return plain_values(prompts, source)
        values = source(prompts)
        count = _length(values)
        if count != len(prompts):
            gave = shown(values) if count is None else f"{count} values"
            raise ValueError(
                f"The function for {name!r} gave {gave} for {len(prompts)} prompts. It must give one each."
            )
        return plain_values(pd.DataFrame({name: values}), name)


def _length(values: object) -> int | None:
    """How many values a column has; None where it is none."""
    if isinstance(values, np.ndarray):  # of times as well, which pandas knows
        return len(values) if values.ndim == 1 else None
    listed = items(values)
    return None if listed is None else len(listed)


def _source(column: object) -> str | Derived:
    if isinstance(column, str):
        return column
    return function(column, "by: a column", "the name of a column, or a function from a data frame to a column")
