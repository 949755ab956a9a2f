"""The interface of a corpus: a table that is read window by window."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Int

from dla.sweeps.parquet import arrow
from dla.sweeps.schema import RESERVED

INCORRECT = "incorrect"
NEEDED, OPTIONAL = ("prompt", "answer"), (INCORRECT, "position")


@final
@dataclass(frozen=True)
class Unreadable:
    """A row that never became one.

    Attributes:
        row: Its place in the corpus.
        reason: What is wrong with it.
        texts: What can be shown of its columns.
    """

    row: int
    reason: str
    texts: Mapping[str, str | None]


@final
@dataclass(frozen=True, eq=False)
class Window:
    """Rows of a corpus that follow each other.

    Attributes:
        start: The first row's place in the corpus.
        rows: The place of each row of `table`.
        table: The rows that could be read, an Arrow table with the corpus' columns.
        asked: The columns that make a question, as Python values; `incorrect` and `position` may be missing.
        unreadable: The others.
    """

    start: int
    rows: Int[np.ndarray, " row"]
    table: Any
    asked: Mapping[str, Sequence[Any]]
    unreadable: tuple[Unreadable, ...] = ()


class Corpus(abc.ABC):
    """A table of prompts.

    Law: `window(start, stop)` depends on `start` and `stop` alone, and windows that follow each other are the corpus.
    It can be pickled, and then reads the same elsewhere, where the files are the same.
    """

    @property
    @abc.abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """How many rows there are, readable or not."""

    @property
    @abc.abstractmethod
    def compares(self) -> bool:
        """Whether any row names an `incorrect` token: then all rows ask for differences of logits, else for logits."""

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Changes when a row, or the order of rows, does."""

    @abc.abstractmethod
    def window(self, start: int, stop: int) -> Window:
        """The rows from `start` up to `stop`."""


def check_columns(columns: Sequence[Any], where: str) -> tuple[str, ...]:
    """Column names, if a corpus can have these.

    Raises:
        ValueError: If a needed one is missing, or one is called as the sweep calls its own.
    """
    names = [name for name in columns if isinstance(name, str)]
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise ValueError(
            f"{where} has no column {missing[0]!r}; its columns are {list(columns)}. Rename them: 'prompt' and "
            "'answer' are needed, 'incorrect' and 'position' may be there, and any others are kept."
        )
    if len(names) < len(columns):
        odd = next(name for name in columns if not isinstance(name, str))
        raise ValueError(f"{where} has a column named {odd!r}, which is no text. Rename it.")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{where} has two columns {twice[0]!r}. Rename one.")
    taken = [name for name in names if name in RESERVED]
    if taken:
        raise ValueError(
            f"{where} has a column {taken[0]!r}, and the sweep gives a column of its own that name. Rename it; the "
            f"names that are taken are {', '.join(sorted(RESERVED))}."
        )
    return tuple(names)


def any_named(column: Any) -> bool:
    """Whether an Arrow column holds anything; NaN, as data frames have it, is nothing."""
    compute = arrow("compute")
    return bool(compute.any(compute.invert(compute.is_null(column, nan_is_null=True))).as_py())


def window_of(table: Any, start: int) -> Window:
    """The window of an Arrow table; rows that hold text which is not UTF-8 are unreadable."""
    rows = np.arange(start, start + table.num_rows, dtype=np.int64)
    unreadable: list[Unreadable] = []
    if not _valid(table):
        good = np.array([_valid(table.slice(i, 1)) for i in range(table.num_rows)])
        for row in rows[~good].tolist():
            unreadable.append(Unreadable(row, "A text in this row is not UTF-8.", {}))
        table, rows = table.filter(arrow().array(good)), rows[good]
    names = [name for name in (*NEEDED, *OPTIONAL) if name in table.column_names]
    return Window(start, rows, table, {name: table[name].to_pylist() for name in names}, tuple(unreadable))


def _valid(table: Any) -> bool:
    try:
        table.validate(full=True)
    except arrow().ArrowInvalid:
        return False
    return True
