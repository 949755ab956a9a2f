"""CSV with a header. Text stays text: no number is guessed."""

import csv
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, final

from dla.sweeps.corpora.base import OPTIONAL
from dla.sweeps.corpora.text import BOM, BadRecord, TextFormat, TextRecord, not_utf8


@final
class CsvRows(TextFormat):
    """Fields apart by commas, in double quotes where they need be; a byte order mark is skipped."""

    def records(self, file: BinaryIO, path: Path, start: int) -> Iterator[TextRecord]:
        begin = len(BOM) if file.read(len(BOM)) == BOM else 0
        file.seek(begin)
        header = next(_rows(file), None)
        if header is None:
            return
        names = [] if isinstance(header[1], BadRecord) else header[1]
        check_header(names, path)
        start = start or begin + header[0]
        file.seek(start)
        for end, fields in _rows(file):
            yield TextRecord(start + end, _contents(fields, names))


def check_header(names: list[str], path: Path) -> None:
    """Whether the first row can be a header.

    Raises:
        ValueError: If it holds what is not UTF-8, or a name twice.
    """
    twice = [name for name in names if names.count(name) > 1]
    if not names or any(_broken(name) for name in names) or twice:
        what = f"names {twice[0]!r} twice" if twice else "is not UTF-8"
        raise ValueError(f"The header of {str(path)!r} {what}. Write it as UTF-8, a name a column.")


def _rows(file: BinaryIO) -> Iterator[tuple[int, list[str] | BadRecord]]:
    """The rows, each with how many bytes were read up to its end."""
    read = 0

    def lines() -> Iterator[str]:
        nonlocal read
        for line in file:
            read += len(line)
            # what is not UTF-8 becomes lone surrogates, so that the rows around it can be read
            yield line.decode("utf-8", "surrogateescape")

    reader = csv.reader(lines())
    while True:
        try:
            with _long_fields():
                fields = next(reader, None)
        except csv.Error as error:
            yield read, BadRecord(f"The row is not CSV ({error}).")
            continue
        if fields is None:
            return
        if fields:
            yield read, fields


def _contents(fields: list[str] | BadRecord, names: list[str]) -> Mapping[str, Any] | BadRecord:
    if isinstance(fields, BadRecord):
        return fields
    if len(fields) != len(names):
        return BadRecord(
            f"The row has {len(fields)} fields and the header {len(names)}. Put texts with commas in quotes."
        )
    broken = [field for field in fields if _broken(field)]
    if broken:
        try:
            broken[0].encode("utf-8", "surrogateescape").decode("utf-8")
        except UnicodeDecodeError as error:
            return BadRecord(not_utf8(error))
    return {name: None if name in OPTIONAL and not field else field for name, field in zip(names, fields, strict=True)}


def _broken(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lets a field be as long as a prompt can be: the module's own limit is 128 KiB."""
    old = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(old)
