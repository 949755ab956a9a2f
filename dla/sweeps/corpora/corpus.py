"""A corpus: what its rows are in all, and some of them at a time."""

import hashlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, final

from dla.errors import DLAError
from dla.sweeps.corpora.base import CorpusRow, RowReader, is_missing
from dla.sweeps.layout import RESERVED

NEEDED = ("prompt", "answer")
"""The columns that a corpus must have, where a sweep is not told what to ask."""

_OPTIONAL = "'incorrect' and 'position'"

_ROWS = 1024  # how many rows are compared at a time


@final
class Corpus:
    """A table of prompts.

    Law: `rows(start, stop)` depends on `start` and `stop` alone: it gives the rows that were there when the corpus was
    opened, or an error. A corpus can be pickled, as its reader can.

    Attributes:
        columns: The names of the columns.
        size: How many rows there are, readable or not.
        compares: Whether any row names an `incorrect` token: then all rows ask for differences of logits, else for
            logits.
        fingerprint: Changes when a row does, or the order of rows; not with the names of files.
    """

    def __init__(
        self, reader: RowReader, name: str, files: Sequence[Path] = (), needed: Sequence[str] = NEEDED
    ) -> None:
        """Reads every row once, and keeps eight bytes of each: by them a row that changes later is noticed.

        Args:
            reader: Reads the rows.
            name: What an error calls the corpus.
            files: The files that it reads, if it does.
            needed: The columns that it must have.

        Raises:
            ValueError: If a needed column is missing, or the name of one cannot be.
        """
        self.columns = check_column_names(reader.columns, name, needed)
        self.size, self.compares, self._name = 0, False, name
        self._files, self._states = files, _states(files)
        self._digests = array("Q")
        digest = hashlib.sha256(repr(self.columns).encode("utf-8", "backslashreplace"))
        for row in reader.rows(0):
            self.size += 1
            self.compares = self.compares or not is_missing(row.values.get("incorrect"))
            told = _told(row)
            digest.update(told)
            self._digests.append(_digest(told))
        self.fingerprint = digest.hexdigest()
        self._reader, self._at = reader, 0
        self._coming: Iterator[CorpusRow] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_coming": None}

    def rows(self, start: int, stop: int) -> list[CorpusRow]:
        """The rows from `start` up to `stop`.

        Where they come after those of the call before, reading continues from there: text has no index, and to begin
        at the top of a file for each window would cost the square of its length.

        Raises:
            DLAError: If they are not those that were there when the corpus was opened, or cannot be read any more.
        """
        try:
            if self._coming is None or start < self._at:
                self._coming, self._at = self._reader.rows(start), start
            rows = list(islice(self._coming, start - self._at, stop - self._at))
        except Exception as error:  # each reader has errors of its own for a file that is gone, or another one
            raise self._changed(f"it cannot be read any more ({error})") from error
        found, expected = [_digest(_told(row)) for row in rows], self._digests[start:stop].tolist()
        if found != expected:
            pairs = enumerate(zip_longest(found, expected), start)
            raise self._changed(f"row {next(i for i, (now, then) in pairs if now != then)} is not what it was")
        self._at = stop
        return rows

    def check(self) -> None:
        """Reads every row again if a file was written to; raises as `rows` does, also where rows were added."""
        if _states(self._files) == self._states:
            return
        for start in range(0, self.size + 1, _ROWS):
            self.rows(start, start + _ROWS)

    def _changed(self, how: str) -> DLAError:
        self._coming = None
        return DLAError(
            f"{self._name} changed while it was read: {how}. No row of it was mixed with the old ones. Bring the old "
            "rows back, and the same call resumes the sweep; for the new ones pass another folder."
        )

    def table(self, rows: Sequence[CorpusRow]) -> Any:
        """An Arrow table of rows that could be read, with all columns."""
        return self._reader.table(rows)


def _states(files: Sequence[Path]) -> list[tuple[int, int]]:
    """The size of each file and when it was written; of one that is gone, zeros."""
    found = [file.stat() if file.is_file() else None for file in files]
    return [(0, 0) if each is None else (each.st_size, each.st_mtime_ns) for each in found]


def _told(row: CorpusRow) -> bytes:
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


def _digest(told: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "little")


def check_column_names(columns: Sequence[Any], name: str, needed: Sequence[str] = NEEDED) -> tuple[str, ...]:
    """Column names, if a corpus can have these.

    Raises:
        ValueError: If a needed one is missing, or one is called as the sweep calls its own.
    """
    missing = [column for column in needed if column not in columns]
    if missing:
        *others, last = map(repr, needed)
        verb = f"{', '.join(others)} and {last} are" if others else f"{last} is"
        raise ValueError(
            f"{name} has no column {missing[0]!r}; its columns are {list(columns)}. Rename them: {verb} needed, "
            f"{_OPTIONAL if 'incorrect' not in needed else repr('position')} may be there, and any others are kept."
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
