"""Corpora that are tables already: pandas frames, Hugging Face datasets, Parquet files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd

from dla.sweeps.corpora.base import CorpusRow, RowReader, is_missing, not_utf8, value_as_text
from dla.sweeps.parquet import arrow

_ROWS = 1024
"""How many rows are taken at a time."""


@final
class TableReader(RowReader):
    """Rows of Arrow tables. Each keeps a slice of its table, so that every column is written as it was read."""

    def __init__(
        self,
        columns: Sequence[Any],
        empty: Any,
        tables: Callable[[int], Iterator[Any]],
        mixed: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """Reads nothing yet.

        Args:
            columns: The names of the columns.
            empty: A table of the same columns without rows.
            tables: Gives the rows from a place on, in small tables; can be pickled.
            mixed: The Python values of columns that the tables hold as text.
        """
        self.columns, self._empty, self._tables, self._mixed = columns, empty, tables, mixed or {}

    def rows(self, start: int) -> Iterator[CorpusRow]:
        number = start
        for table in self._tables(start):
            for i, found in enumerate(_values(table)):
                if isinstance(found, UnicodeDecodeError):
                    yield CorpusRow(number, fault=not_utf8(found))
                else:
                    mixed = {name: values[number] for name, values in self._mixed.items()}
                    yield CorpusRow(number, {**found, **mixed}, stored=table.slice(i, 1))
                number += 1

    def table(self, rows: Sequence[CorpusRow]) -> Any:
        return arrow().concat_tables([self._empty, *(row.stored for row in rows)])


def read_frame(frame: pd.DataFrame) -> RowReader:
    """The rows of a pandas frame; its index is left out."""
    columns, mixed = [], {}
    for name, series in frame.items():
        column = _of_one_type(series)
        if column is None:
            mixed[str(name)] = [_plain(value) for value in series]
            column = arrow().array(map(value_as_text, mixed[str(name)]), "string")
        columns.append(column)
    names = list(frame.columns)
    table = arrow().table(columns, list(map(str, names)))
    return TableReader(names, table[:0], partial(_slices, table, len(frame)), mixed)


def read_hugging_face(dataset: Any) -> RowReader:
    """The rows of a `datasets.Dataset`, read from where it lies."""
    tables = dataset.with_format("arrow")
    return TableReader(dataset.column_names, tables[:0], partial(_slices, tables, len(dataset)))


def read_parquet(files: Sequence[Path]) -> RowReader:
    """The rows of Parquet files of one schema, one file after the other.

    Raises:
        ValueError: If one is no Parquet file, or has other columns than the first.
    """
    schemas = [_schema(file) for file in files]
    for file, schema in zip(files, schemas, strict=True):
        if not schema.equals(schemas[0]):
            raise ValueError(
                f"{str(file)!r} has other columns than {str(files[0])!r}, or of other types. Sweep them one by one, "
                "or bring them into one form."
            )
    return TableReader(schemas[0].names, schemas[0].empty_table(), partial(_of_files, tuple(files)))


def _slices(tables: Any, size: int, start: int) -> Iterator[Any]:
    for first in range(start, size, _ROWS):
        yield tables[first : min(first + _ROWS, size)]


def _of_files(files: Sequence[Path], start: int) -> Iterator[Any]:
    for file in files:
        with arrow("parquet").ParquetFile(file) as opened:
            for batch in opened.iter_batches(_ROWS):
                if start < len(batch):
                    yield arrow().Table.from_batches([batch.slice(start)])
                start = max(0, start - len(batch))


def _schema(file: Path) -> Any:
    try:
        return arrow("parquet").read_schema(file)
    except arrow().ArrowInvalid as error:
        raise ValueError(f"{str(file)!r} is not a Parquet file, or was cut short ({error}).") from error


def _values(table: Any) -> Sequence[Mapping[str, Any] | UnicodeDecodeError]:
    """The Python values of each row, or what is wrong with its text."""
    try:
        values: list[Mapping[str, Any]] = table.to_pylist()
        return values
    except UnicodeDecodeError as error:
        if len(table) == 1:
            return [error]
        return [found for i in range(len(table)) for found in _values(table.slice(i, 1))]


def _of_one_type(series: "pd.Series[Any]") -> Any:
    """An Arrow column of the type that Arrow finds for all values; None where there is none."""
    try:
        column = arrow().array(series, from_pandas=True)
    except (arrow().ArrowException, OverflowError, TypeError, UnicodeEncodeError):
        return None
    # Parquet has no form for records without fields.
    empty = arrow().types.is_struct(column.type) and not column.type.num_fields
    return None if empty else column


def _plain(value: Any) -> Any:
    """Python's own value for one of a data frame; None where there is none."""
    if type(value).__name__ in ("NAType", "NaTType") or is_missing(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
