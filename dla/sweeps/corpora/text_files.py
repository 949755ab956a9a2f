"""Corpora in text files: JSON lines and CSV.

The readers of pyarrow and pandas were tried: a line that is not JSON, or a quote that is never closed, ends them, and
here it costs one row. So the standard library splits the text, and it is read row by row.
"""

import codecs
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar, final

from dla.sweeps.corpora.base import CorpusRow, RowReader, as_text, not_utf8
from dla.sweeps.parquet import arrow

_Raw = TypeVar("_Raw")

_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"PK": "a zip archive", b"\x1f\x8b": "a gzip archive"}
"""How files begin that cannot be UTF-8: refused as a whole, where each of their lines would be a rejected row."""

_SHOWN = 80
"""How many characters of a faulty line are shown."""

_LONGEST = 2**31 - 1
"""How long a field of CSV may be. The standard library's own limit, 128 KiB, is shorter than some prompts."""

_OPTIONAL = ("incorrect", "position")
"""The columns of CSV in which an empty field stands for nothing; an empty prompt is one, and is rejected."""

_TYPES = {type(None): "null", bool: "bool", int: "int64", float: "float64", str: "string"}
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
        self._files, fault = tuple(files), ""
        self._types: dict[str, str] = {}
        for row in self.rows(0):
            fault = fault or row.fault
            for name, value in row.values.items():
                self._types[name] = _common(self._types.get(name, "null"), _type_of(value))
        if fault and not self._types:
            raise ValueError(f"No row of {str(files[0])!r} can be read. The first: {fault}")
        self.columns = tuple(self._types)

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
        first, *others = map(_header, files)
        self.columns = (*first, *dict.fromkeys(name for name in chain(*others) if name not in first))

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


def _table(rows: Sequence[CorpusRow], types: Mapping[str, str]) -> Any:
    columns: dict[str, Any] = {name: [row.values.get(name) for row in rows] for name in types}
    for name, values in columns.items():
        columns[name] = arrow().array(map(as_text, values) if types[name] == "string" else values, types[name])
    return arrow().table(columns)


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
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    try:
        value = json.loads(text)
        if "\\u" in text:  # an escape can stand for half a character, which no file can hold
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"The line holds half of a surrogate pair: {shown}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The line is not JSON ({error}): {shown}") from error
    if not isinstance(value, dict):
        raise ValueError(f"The line is JSON and no object with columns: {shown}")
    return value


def _type_of(value: Any) -> str:
    """The Arrow type of a JSON value; lists, objects and very large numbers are written as JSON text."""
    fits = isinstance(value, bool) or not isinstance(value, int) or value in _INT64
    return _TYPES.get(type(value), "string") if fits else "string"


def _common(one: str, other: str) -> str:
    """The Arrow type of a column with values of two types."""
    if "null" in (one, other):
        return other if one == "null" else one
    return one if one == other else "float64" if {one, other} == {"int64", "float64"} else "string"


def _split(path: Path) -> Iterator[Any]:
    """The fields of each row of CSV that is not blank, or the error that the standard library raised there."""
    _check_encoding(path)
    # what is not UTF-8 becomes lone surrogates, so that the rows around it can be read
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file)
        while True:
            limit = csv.field_size_limit(_LONGEST)
            try:
                fields: Any = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                fields = error
            finally:
                csv.field_size_limit(limit)
            if fields:
                yield fields


def _header(path: Path) -> Sequence[str]:
    """The names in the first row of CSV; none where the file is empty."""
    try:
        return _utf8(next(_split(path), []))
    except UnicodeDecodeError as error:
        raise ValueError(f"The header of {str(path)!r} is not UTF-8 ({error}). Write it as UTF-8.") from error


def _records(path: Path) -> Iterator[tuple[Sequence[str], Any]]:
    """The names of the columns with each row of `_split`."""
    rows = _split(path)
    names: Sequence[str] = next(rows, [])
    return ((names, fields) for fields in rows)


def _fields(record: tuple[Sequence[str], Any]) -> Mapping[str, Any]:
    """The fields of a row by the names of their columns."""
    names, fields = record
    if isinstance(fields, csv.Error):
        raise ValueError(f"The row is not CSV ({fields}).")
    if len(fields) != len(names):
        raise ValueError(
            f"The row has {len(fields)} fields and the header {len(names)}. Put texts with commas in quotes."
        )
    values = zip(names, _utf8(fields), strict=True)
    return {name: None if name in _OPTIONAL and not field else field for name, field in values}


def _utf8(fields: Sequence[str]) -> Sequence[str]:
    """Fields that are UTF-8; raises `UnicodeDecodeError` where they are not."""
    ",".join(fields).encode("utf-8", "surrogateescape").decode("utf-8")
    return fields


def _check_encoding(path: Path) -> None:
    with path.open("rb") as file:
        first = file.read(2)
    if first in _MARKS:
        raise ValueError(f"{str(path)!r} is {_MARKS[first]}, and text is read as UTF-8. Write it as UTF-8.")
