"""Parquet files: written whole or not at all, zstd inside."""

import importlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dla.errors import FileFormatError, MissingPackageError
from dla.views import files

UNFINISHED = ".unfinished"
"""How the name of a file ends that is being written."""


def arrow(module: str = "") -> Any:
    """A module of pyarrow, which is imported only here.

    Raises:
        MissingPackageError: If it is not installed; names the extra that brings it.
    """
    try:
        return importlib.import_module(f"pyarrow.{module}" if module else "pyarrow")
    except ImportError as error:
        raise MissingPackageError(
            "A sweep is kept in Parquet files, and pyarrow is not installed: pip install 'dla[sweep]'"
        ) from error


def write_parquet(table: Any, path: Path, repeating: Sequence[str] | None = None) -> None:
    """Writes an Arrow table next to its place, and moves it there.

    Args:
        table: The table.
        path: Its place.
        repeating: The columns whose values repeat; None where any may.
    """
    with replacing(path) as unfinished:
        dictionary = True if repeating is None else list(repeating)
        arrow("parquet").write_table(table, unfinished, compression="zstd", use_dictionary=dictionary)


def parse_parquet(contents: bytes, path: Path) -> Any:
    """What a file holds, as an Arrow table.

    Raises:
        FileFormatError: If it is no Parquet, or was cut short.
    """
    try:
        with arrow("parquet").ParquetFile(arrow().BufferReader(contents)) as file:
            return file.read()
    except (OSError, arrow().ArrowException) as error:
        raise FileFormatError(f"{str(path)!r} is missing or damaged ({error}).") from error


def replacing(path: Path) -> AbstractContextManager[Path]:
    """Where to write a file of a sweep's folder, which is made; it takes the place of `path` when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return files.replacing(path, UNFINISHED)
