"""Corpora in text files: JSON lines and CSV.

The readers of pyarrow and pandas were tried: a line that is not JSON, or a quote that is never closed, ends them, and
here it costs one row. So the standard library splits the text, and it is read row by row.
"""

import codecs
import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar, final

from dla.sweeps.corpora.base import CorpusRow, RowReader, as_text, not_utf8
from dla.sweeps.parquet import arrow

_Raw = TypeVar("_Raw")

_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"PK": "a zip archive", b"\x1f\x8b": "a gzip archive"}
"""How files begin that cannot be UTF-8, though each of their lines would be told as a fault of its own."""

_SHOWN = 80
"""How many characters of a faulty line are shown."""

_INT64 = range(-(2**63), 2**63)


@final
class JsonReader(RowReader):
    """JSON lines: each line is an object; what a line lacks is null, and blank lines are no rows."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Reads all files once, for their columns and the types of these.

        Args:
            files: At least one.

        Raises:
            ValueError: If a file is in another encoding, or none of its lines can be read.
        """
        self._files = tuple(files)
        kinds: dict[str, set[str]] = {}
        fault = ""
        for row in self.rows(0):
            fault = fault or row.fault
            for name, value in row.values.items():
                kinds.setdefault(name, set()).update([] if value is None else [_kind(value)])
        if fault and not kinds:
            raise ValueError(f"No row of {str(files[0])!r} can be read. The first: {fault}")
        self._types = {name: _type(found) for name, found in kinds.items()}
        self.columns = tuple(kinds)

    def rows(self, start: int) -> Iterator[CorpusRow]:
        return _parsed(chain.from_iterable(map(_lines, self._files)), _object, start)

    def table(self, rows: Sequence[CorpusRow]) -> Any:
        return _table(rows, self._types)


@final
class CsvReader(RowReader):
    """CSV with a header: fields apart by commas, in double quotes where they need be. No number is guessed."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Reads the headers.

        Args:
            files: At least one.

        Raises:
            ValueError: If a file is in another encoding.
        """
        self._files = tuple(files)
        headers = [_header(file) for file in files]
        self.columns = (*headers[0], *dict.fromkeys(name for name in chain(*headers) if name not in headers[0]))

    def rows(self, start: int) -> Iterator[CorpusRow]:
        return _parsed(chain.from_iterable(map(_records, self._files)), _fields, start)

    def table(self, rows: Sequence[CorpusRow]) -> Any:
        return _table(rows, dict.fromkeys(self.columns, "string"))


def _parsed(raw: Iterable[_Raw], parse: Callable[[_Raw], Mapping[str, Any]], start: int) -> Iterator[CorpusRow]:
    """Rows, of which those before `start` are not parsed."""
    for number, each in enumerate(islice(raw, start, None), start):
        try:
            yield CorpusRow(number, parse(each))
        except UnicodeDecodeError as error:
            yield CorpusRow(number, fault=not_utf8(error))
        except ValueError as error:
            yield CorpusRow(number, fault=str(error))


def _lines(path: Path) -> Iterator[bytes]:
    _check_encoding(path)
    with path.open("rb") as file:
        for place, line in enumerate(file):
            line = line.strip() if place else line.removeprefix(codecs.BOM_UTF8).strip()
            if line:
                yield line


def _object(line: bytes) -> Mapping[str, Any]:
    """The object of a JSON line."""
    text = line.decode("utf-8")
    try:
        value = json.loads(text)
        if "\\u" in text:  # an escape can stand for half a character, which no file can hold
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"The line holds half of a surrogate pair: {_shown(text)}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The line is not JSON ({error}): {_shown(text)}") from error
    if not isinstance(value, dict):
        raise ValueError(f"The line is JSON and no object with columns: {_shown(text)}")
    return value


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _header(path: Path) -> list[str]:
    """The names in the first row of a CSV file; none where it is empty."""
    names: list[str] = next(iter(_split(path)), [])
    try:
        _check_utf8(names)
    except UnicodeDecodeError as error:
        raise ValueError(f"The header of {str(path)!r} is not UTF-8 ({error}). Write it as UTF-8.") from error
    return names


def _records(path: Path) -> Iterator[tuple[Sequence[str], Any]]:
    """The names of the columns with the fields of each row, or with the error that the reader raised there."""
    rows = _split(path)
    names: Sequence[str] = next(rows, [])
    return ((names, fields) for fields in rows)


def _split(path: Path) -> Iterator[Any]:
    """The fields of each row that is not blank, or the error that the reader raised there."""
    _check_encoding(path)
    # what is not UTF-8 becomes lone surrogates, so that the rows around it can be read
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file)
        while True:
            try:
                with _long_fields():
                    fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield error
                continue
            if fields:
                yield fields


def _fields(record: tuple[Sequence[str], Any]) -> Mapping[str, Any]:
    """The fields of a CSV row by name; an empty one is null."""
    names, fields = record
    if isinstance(fields, csv.Error):
        raise ValueError(f"The row is not CSV ({fields}).")
    if len(fields) != len(names):
        raise ValueError(
            f"The row has {len(fields)} fields and the header {len(names)}. Put texts with commas in quotes."
        )
    _check_utf8(fields)
    return {name: None if name in _OPTIONAL and not field else field for name, field in zip(names, fields, strict=True)}


_OPTIONAL = ("incorrect", "position")
"""The columns of a CSV file in which an empty field stands for nothing; an empty prompt is one, and is rejected."""


def _check_utf8(fields: Sequence[str]) -> None:
    ",".join(fields).encode("utf-8", "surrogateescape").decode("utf-8")


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lets a field be as long as a prompt can be: the module's own limit is 128 KiB."""
    old = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(old)


def _check_encoding(path: Path) -> None:
    with path.open("rb") as file:
        first = file.read(2)
    if first in _MARKS:
        raise ValueError(f"{str(path)!r} is {_MARKS[first]}, and text is read as UTF-8. Write it as UTF-8.")


def _table(rows: Sequence[CorpusRow], types: Mapping[str, str]) -> Any:
    pyarrow = arrow()
    columns = {}
    for name, type_ in types.items():
        values = [row.values.get(name) for row in rows]
        columns[name] = pyarrow.array(map(as_text, values) if type_ == "string" else values, type_)
    return pyarrow.table(columns)


def _kind(value: Any) -> str:
    """The Arrow type of a JSON value; "other" where it is written as JSON text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return "int64" if value in _INT64 else "other"
    return {bool: "bool", float: "float64", str: "string"}.get(type(value), "other")


def _type(kinds: set[str]) -> str:
    """The Arrow type of a column: text where it holds values of several sorts."""
    if kinds == {"int64", "float64"}:
        return "float64"
    return "string" if len(kinds) != 1 or "other" in kinds else next(iter(kinds))
