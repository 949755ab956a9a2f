"""A corpus: what its rows are in all, and some of them at a time."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, final

from dla.sweeps.corpora.base import CorpusRow, RowReader, is_missing
from dla.sweeps.layout import RESERVED


@final
class Corpus:
    """A table of prompts.

    Law: `rows(start, stop)` depends on `start` and `stop` alone. A corpus can be pickled, as its reader can.

    Attributes:
        columns: The names of the columns.
        size: How many rows there are, readable or not.
        compares: Whether any row names an `incorrect` token: then all rows ask for differences of logits, else for
            logits.
        fingerprint: Changes when a row does, or the order of rows; not with the names of files.
    """

    def __init__(self, reader: RowReader, name: str) -> None:
        """Reads every row once, and keeps none.

        Args:
            reader: Reads the rows.
            name: What an error calls the corpus.

        Raises:
            ValueError: If a needed column is missing, or the name of one cannot be.
        """
        self.columns = check_column_names(reader.columns, name)
        self.size, self.compares = 0, False
        digest = hashlib.sha256(repr(self.columns).encode("utf-8", "backslashreplace"))
        for row in reader.rows(0):
            self.size += 1
            self.compares = self.compares or not is_missing(row.values.get("incorrect"))
            digest.update(_in_full(row))
        self.fingerprint = digest.hexdigest()
        self._reader, self._at = reader, 0
        self._coming: Iterator[CorpusRow] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_coming": None}

    def rows(self, start: int, stop: int) -> list[CorpusRow]:
        """The rows from `start` up to `stop`.

        Where they come after those of the call before, reading continues from there: text has no index, and to begin
        at the top of a file for each window would cost the square of its length.
        """
        if self._coming is None or start < self._at:
            self._coming, self._at = self._reader.rows(start), start
        rows = list(islice(self._coming, start - self._at, stop - self._at))
        self._at = stop
        return rows

    def table(self, rows: Sequence[CorpusRow]) -> Any:
        """An Arrow table of rows that could be read, with all columns."""
        return self._reader.table(rows)


def _in_full(row: CorpusRow) -> bytes:
    """All that a row says, as bytes."""
    try:
        return repr((row.values, row.fault)).encode("utf-8", "backslashreplace")
    except ValueError:  # a whole number of more digits than Python writes
        return repr((_in_hexadecimal(row.values), row.fault)).encode("utf-8", "backslashreplace")


def _in_hexadecimal(value: Any) -> Any:
    """The same with its whole numbers in a form that has no longest."""
    if isinstance(value, Mapping):
        return {key: _in_hexadecimal(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_in_hexadecimal(each) for each in value]
    return hex(value) if isinstance(value, int) else value


def check_column_names(columns: Sequence[Any], name: str) -> tuple[str, ...]:
    """Column names, if a corpus can have these.

    Raises:
        ValueError: If a needed one is missing, or one is called as the sweep calls its own.
    """
    missing = [needed for needed in ("prompt", "answer") if needed not in columns]
    if missing:
        raise ValueError(
            f"{name} has no column {missing[0]!r}; its columns are {list(columns)}. Rename them: 'prompt' and "
            "'answer' are needed, 'incorrect' and 'position' may be there, and any others are kept."
        )
    for column in columns:
        if not isinstance(column, str):
            raise ValueError(f"{name} has a column named {column!r}, which is no text. Rename it.")
        if list(columns).count(column) > 1:
            raise ValueError(f"{name} has two columns {column!r}. Rename one.")
        if column in RESERVED:
            raise ValueError(
                f"{name} has a column {column!r}, and the sweep gives a column of its own that name. Rename it; the "
                f"names that are taken are {', '.join(sorted(RESERVED))}."
            )
    return tuple(columns)
