"""Parquet files, and the checksums by which one that was damaged, lost or swapped is noticed."""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dla.errors import FileFormatError, MissingPackageError
from dla.views.files import replacing
from dla.views.sealed import checksum


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
    """Writes an Arrow table whole or not at all, and makes the folder that it is in.

    Args:
        table: The table.
        path: Its place.
        repeating: The columns whose values repeat; None where any may.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        dictionary = True if repeating is None else list(repeating)
        arrow("parquet").write_table(table, unfinished, compression="zstd", use_dictionary=dictionary)


def read_checked(folder: Path, name: str, expected: str, remedy: str) -> Any:
    """A Parquet file of a sweep as an Arrow table.

    Args:
        folder: The sweep's.
        name: The file's path in it.
        expected: Its checksum.
        remedy: What to do where it has another.

    Raises:
        FileFormatError: If it is missing, or not what the sweep wrote.
    """
    contents = arrow().BufferReader(_checked(folder / name, expected, remedy))
    with arrow("parquet").ParquetFile(contents) as file:
        return file.read()


def check_files(folder: Path, files: Mapping[str, str], remedy: str) -> None:
    """Reads files, and compares their checksums.

    Args:
        folder: The sweep's.
        files: The checksum of each, by its path in the folder.
        remedy: What to do where a file has another.

    Raises:
        FileFormatError: If one is missing, or not what the sweep wrote.
    """
    for name, expected in files.items():
        _checked(folder / name, expected, remedy)


def checksums_of(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """The checksum of each of a folder's files, by its path in the folder."""
    return {file.relative_to(folder).as_posix(): checksum(file.read_bytes()) for file in files}


def _checked(path: Path, expected: str, remedy: str) -> bytes:
    try:
        contents = path.read_bytes()
    except PermissionError:
        raise
    except OSError as error:
        raise FileFormatError(f"{str(path)!r} is missing or damaged ({error.strerror}). {remedy}") from error
    found = checksum(contents)
    if found != expected:
        raise FileFormatError(
            f"{str(path)!r} is missing or damaged (its checksum is {found[:8]}, and the sweep noted {expected[:8]}). "
            f"{remedy}"
        )
    return contents
