"""How the rows of a corpus fall into groups."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Int64

from dla.summaries.row_batches import Plain, plain_values

Derived = Callable[[pd.DataFrame], pd.Series]
"""Computes a column from some of the prompts, row by row."""

By = str | Sequence[str] | Mapping[str, str | Derived] | None
"""A column of the corpus, several, or names with a column or a function each."""

Group = tuple[Plain, ...]
"""The value of each column that rows are split by."""

# The other columns of a summary's data frame.
_TAKEN = frozenset(
    "part sum kind layer index head count first second mean low high variance standard_error min max positive".split()
)


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
        """The split that a user asks for."""
        if isinstance(by, Mapping):
            return cls(tuple(by), tuple(by.values()))
        names = (by,) if isinstance(by, str) else tuple(by or ())
        return cls(names, names)

    def check(self, columns: Sequence[str]) -> None:
        """Checks the split against the corpus' columns.

        Raises:
            ValueError: If there is no such column, or the data frame has another of that name.
        """
        for name in self.names:
            if name in _TAKEN or self.names.count(name) > 1:
                raise ValueError(
                    f"A summary has another column {name!r}. Call it something else: by={{'the {name}': {name!r}}}."
                )
        for source in self.columns:
            if isinstance(source, str) and source not in columns:
                close = get_close_matches(source, columns, 3)
                likely = f" Close to it: {', '.join(close)}." if close else ""
                raise ValueError(f"There is no column {source!r}; the corpus has {', '.join(columns)}.{likely}")

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
        if len(values) != len(prompts):
            raise ValueError(f"The function for {name!r} gave {len(values)} values for {len(prompts)} prompts.")
        return plain_values(pd.DataFrame({name: values}), name)
