"""Attributions on disk: netCDF, written completely or not at all. Reading a file cannot run code from it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dla.errors import FileFormatError
from dla.text import as_text

if TYPE_CHECKING:
    import xarray

UNFINISHED = ".part"
"""The ending of a file while it is written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file that replaces `path` at the end of the block, and is removed after an error.

    Raises:
        OSError: If it cannot be written; names `path`.
    """
    # In the same folder, since only there it can be moved in one step; two processes may write the same file.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        # The user knows the name that was passed, not that of the unfinished file.
        if error.errno is None or unfinished.name not in str(error):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def write_dataset(data: "xarray.Dataset", path: Path) -> None:
    """Writes a dataset as netCDF."""
    with replacing(path) as unfinished:
        data.to_netcdf(unfinished, engine="h5netcdf")


def read_dataset(path: Path) -> "xarray.Dataset":
    """Reads a whole dataset into memory.

    Raises:
        FileNotFoundError: If there is no such file.
        FileFormatError: If it is not netCDF, or was cut short.
    """
    import xarray  # slow to import; see `to_dataset`

    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    try:
        with xarray.open_dataset(path, engine="h5netcdf") as data:
            return data.load()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise FileFormatError(
            f"{str(path)!r} is not an attribution saved by this library, or was cut short "
            f"({as_text(str(error))}). Save it again."
        ) from error
