"""Parquet files: written whole or not at all, zstd inside."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dla.errors import FileFormatError

UNFINISHED = ".unfinished"
"""How the name of a file ends that is being written."""


def arrow(module: str = "") -> Any:
    """A module of pyarrow, which is imported only here.

    Raises:
        ImportError: If it is not installed; names the extra that brings it.
    """
    try:
        return importlib.import_module(f"pyarrow.{module}" if module else "pyarrow")
    except ImportError as error:
        raise ImportError(
            "A sweep is kept in Parquet files, and pyarrow is not installed: pip install 'dla[sweep]'"
        ) from error


def write_parquet(table: Any, path: Path) -> None:
    """Writes an Arrow table next to its place, and moves it there."""
    with replacing(path) as unfinished:
        arrow("parquet").write_table(table, unfinished, compression="zstd")


def read_parquet(path: Path) -> Any:
    """A whole file as an Arrow table.

    Raises:
        FileFormatError: If it is missing, no Parquet, or was cut short.
    """
    pyarrow, parquet = arrow(), arrow("parquet")
    try:
        with parquet.ParquetFile(path) as file:
            return file.read()
    except (OSError, pyarrow.ArrowException) as error:
        raise FileFormatError(f"{str(path)!r} is missing or damaged ({error}).") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file that takes the place of `path` when all went well, and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
