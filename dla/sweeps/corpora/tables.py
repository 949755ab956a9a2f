"""Corpora that are tables already: pandas frames, Hugging Face datasets, Parquet files."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import pandas as pd

from dla.sweeps.corpora.base import INCORRECT, Corpus, Window, any_named, check_columns, window_of
from dla.sweeps.corpora.values import column_of, column_of_one_type, plain
from dla.sweeps.parquet import arrow

_ROWS = 1024


@final
class FrameCorpus(Corpus):
    """A pandas frame; its index is left out."""

    def __init__(self, frame: pd.DataFrame) -> None:
        """Takes the frame over as an Arrow table.

        Args:
            frame: The frame.
        """
        self._columns = check_columns(list(frame.columns), "The data frame")
        columns = {name: column_of_one_type(frame[name]) for name in self._columns}
        self._mixed = {name: plain(frame[name]) for name, column in columns.items() if column is None}
        texts = {name: column_of(values, "string") for name, values in self._mixed.items()}
        self._table = arrow().table({**columns, **texts})

    @property
    def columns(self) -> tuple[str, ...]:
        return self._columns

    @property
    def size(self) -> int:
        return int(self._table.num_rows)

    @property
    def compares(self) -> bool:
        return INCORRECT in self._columns and any_named(self._table[INCORRECT])

    def fingerprint(self) -> str:
        return _fingerprint(self)

    def window(self, start: int, stop: int) -> Window:
        window = window_of(self._table.slice(start, stop - start), start)
        mixed = {name: [values[row] for row in window.rows] for name, values in self._mixed.items()}
        return replace(window, asked={**window.asked, **{name: mixed[name] for name in window.asked if name in mixed}})


@final
class DatasetCorpus(Corpus):
    """A Hugging Face dataset, read from where it lies."""

    def __init__(self, dataset: Any) -> None:
        """Takes the dataset.

        Args:
            dataset: A `datasets.Dataset`.
        """
        self._columns = check_columns(dataset.column_names, "The dataset")
        self._dataset = dataset.with_format("arrow")

    @property
    def columns(self) -> tuple[str, ...]:
        return self._columns

    @property
    def size(self) -> int:
        return len(self._dataset)

    @property
    def compares(self) -> bool:
        if INCORRECT not in self._columns:
            return False
        column, starts = self._dataset.select_columns([INCORRECT]), range(0, self.size, _ROWS)
        return any(any_named(column[start : min(start + _ROWS, self.size)][INCORRECT]) for start in starts)

    def fingerprint(self) -> str:
        return _fingerprint(self)

    def window(self, start: int, stop: int) -> Window:
        return window_of(self._dataset[start : min(stop, self.size)], start)


@final
class ParquetCorpus(Corpus):
    """Parquet files of one schema, one after the other."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Reads what the files say about themselves.

        Args:
            files: At least one.

        Raises:
            ValueError: If one is no Parquet file, or has other columns than the first.
        """
        self._files = tuple(files)
        self._counts: list[int] = []
        schema = None
        for file in files:
            with _opened(file) as opened:
                self._counts.append(opened.metadata.num_rows)
                schema = opened.schema_arrow if schema is None else schema
                if not schema.equals(opened.schema_arrow):
                    raise ValueError(
                        f"{str(file)!r} has other columns than {str(files[0])!r}, or of other types. Sweep them one "
                        "by one, or bring them into one form."
                    )
        assert schema is not None
        self._columns = check_columns(schema.names, repr(str(files[0])))
        self._at = 0
        self._rest: Any = None
        self._coming: Iterator[Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rest": None, "_coming": None}

    @property
    def columns(self) -> tuple[str, ...]:
        return self._columns

    @property
    def size(self) -> int:
        return sum(self._counts)

    @property
    def compares(self) -> bool:
        return INCORRECT in self._columns and any(map(_compares, self._files))

    def fingerprint(self) -> str:
        return fingerprint_of_files(self._files)

    def window(self, start: int, stop: int) -> Window:
        if self._coming is None or self._at != start:
            self._rest, self._coming = None, self._tables_from(start)
        tables, have = [], 0
        while have < stop - start:
            table = next(self._coming, None) if self._rest is None else self._rest
            if table is None:
                break
            taken = table.slice(0, stop - start - have)
            self._rest = table.slice(len(taken)) if len(taken) < len(table) else None
            tables.append(taken)
            have += len(taken)
        self._at = start + have
        return window_of(arrow().concat_tables(tables), start)

    def _tables_from(self, start: int) -> Iterator[Any]:
        """Small tables, from a row on; row groups before it are not read."""
        for file, count in zip(self._files, self._counts, strict=True):
            if start < count:
                with _opened(file) as opened:
                    yield from _tables_of(opened, start)
            start = max(0, start - count)


def fingerprint_of_files(files: Sequence[Path]) -> str:
    """Changes when a byte of the files does, or their order; not with their names."""
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()


def _fingerprint(corpus: Corpus) -> str:
    digest = hashlib.sha256(repr(corpus.columns).encode())
    for start in range(0, corpus.size, _ROWS):
        window = corpus.window(start, start + _ROWS)
        for name in corpus.columns:
            digest.update(repr(window.table[name].to_pylist()).encode("utf-8", "backslashreplace"))
        digest.update(repr(window.unreadable).encode())
    return digest.hexdigest()


def _tables_of(opened: Any, start: int) -> Iterator[Any]:
    groups = [opened.metadata.row_group(i).num_rows for i in range(opened.metadata.num_row_groups)]
    first = 0
    while start >= groups[first]:
        start -= groups[first]
        first += 1
    for batch in opened.iter_batches(_ROWS, row_groups=list(range(first, len(groups)))):
        if start < len(batch):
            yield arrow().Table.from_batches([batch]).slice(start)
        start = max(0, start - len(batch))


def _compares(file: Path) -> bool:
    with _opened(file) as opened:
        return any(any_named(batch[INCORRECT]) for batch in opened.iter_batches(_ROWS, columns=[INCORRECT]))


def _opened(file: Path) -> Any:
    try:
        return arrow("parquet").ParquetFile(file)
    except arrow().ArrowInvalid as error:
        raise ValueError(f"{str(file)!r} is not a Parquet file, or was cut short ({error}).") from error
