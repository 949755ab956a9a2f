"""Corpora in text files: JSON lines and CSV. They are read once to see what is there, then window by window."""

import abc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, final

import numpy as np

from dla.sweeps.corpora.base import INCORRECT, NEEDED, OPTIONAL, Corpus, Unreadable, Window, check_columns
from dla.sweeps.corpora.tables import fingerprint_of_files
from dla.sweeps.corpora.values import ColumnKinds, absent, column_of
from dla.sweeps.parquet import arrow

BOM = b"\xef\xbb\xbf"
"""The byte order mark, which some programs put before UTF-8."""

_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"PK": "a zip archive", b"\x1f\x8b": "a gzip archive"}


@final
@dataclass(frozen=True)
class BadRecord:
    """A record that could not be read.

    Attributes:
        reason: Why.
    """

    reason: str


@final
@dataclass(frozen=True)
class TextRecord:
    """A record of a file.

    Attributes:
        end: The offset in the file at which the next one begins.
        contents: Its fields by name, or why it has none.
    """

    end: int
    contents: Mapping[str, Any] | BadRecord


class TextFormat(abc.ABC):
    """A way to write rows as text.

    Law: reading on from the `end` of a record gives the records that follow it.
    """

    @abc.abstractmethod
    def records(self, file: BinaryIO, path: Path, start: int) -> Iterator[TextRecord]:
        """The records of a file, which is at its beginning, from an offset on; blank lines are none."""


@final
class TextCorpus(Corpus):
    """Files of one format, one after the other."""

    def __init__(self, files: Sequence[Path], format_: TextFormat, every: int) -> None:
        """Reads all files once.

        Args:
            files: At least one.
            format_: How they are written.
            every: How many rows a window has; where each begins is remembered.

        Raises:
            ValueError: If a file is in another encoding, or a needed column is missing.
        """
        self._files, self._format, self._every = tuple(files), format_, every
        self._begins: list[tuple[int, int]] = []
        kinds, self._size, self._compares, bad = ColumnKinds(), 0, False, None
        for place, contents in self._records(0, 0):
            if self._size % every == 0:
                self._begins.append(place)
            self._size += 1
            if isinstance(contents, BadRecord):
                bad = bad or contents
                continue
            self._compares = self._compares or not absent(contents.get(INCORRECT))
            for name, value in contents.items():
                kinds.see(name, value)
        self._types = kinds.types()
        if bad is not None and not self._types:
            raise ValueError(f"No row of {str(files[0])!r} can be read. The first: {bad.reason}")
        self._columns = check_columns(list(self._types), " and ".join(repr(str(file)) for file in files[:2]))

    @property
    def columns(self) -> tuple[str, ...]:
        return self._columns

    @property
    def size(self) -> int:
        return self._size

    @property
    def compares(self) -> bool:
        return self._compares

    def fingerprint(self) -> str:
        return fingerprint_of_files(self._files)

    def window(self, start: int, stop: int) -> Window:
        records = self._records(*self._begins[start // self._every])
        for _ in range(start % self._every):
            next(records)
        rows, good, unreadable = [], [], []
        for row, (_, contents) in zip(range(start, stop), records, strict=False):
            if isinstance(contents, BadRecord):
                unreadable.append(Unreadable(row, contents.reason, {}))
            else:
                rows.append(row)
                good.append(contents)
        columns = {name: [contents.get(name) for contents in good] for name in self._columns}
        table = arrow().table({name: column_of(columns[name], self._types[name]) for name in self._columns})
        asked = {name: columns[name] for name in (*NEEDED, *OPTIONAL) if name in columns}
        return Window(start, np.array(rows, dtype=np.int64), table, asked, tuple(unreadable))

    def _records(self, file: int, offset: int) -> Iterator[tuple[tuple[int, int], Mapping[str, Any] | BadRecord]]:
        """The records from a place on, each with the place where it begins."""
        for i, path in enumerate(self._files[file:], file):
            with path.open("rb") as opened:
                _check_encoding(opened.read(2), path)
                opened.seek(0)
                for record in self._format.records(opened, path, offset):
                    yield (i, offset), record.contents
                    offset = record.end
            offset = 0


def _check_encoding(first: bytes, path: Path) -> None:
    if first in _MARKS:
        raise ValueError(f"{str(path)!r} is {_MARKS[first]}, and text is read as UTF-8. Write it as UTF-8.")


def not_utf8(error: UnicodeDecodeError) -> str:
    """Says which byte could not be read."""
    byte = error.object[error.start]
    return f"The row is not UTF-8 (byte 0x{byte:02x} at place {error.start} of its text). Write the file as UTF-8."
