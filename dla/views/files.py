"""Attributions on disk: netCDF, written completely or not at all. Reading a file cannot run code from it."""

import os
import re
import secrets
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dla.errors import FileFormatError
from dla.text import as_text
from dla.views.formats import check_format
from dla.views.sealed import check_sealed_file, seal_file

if TYPE_CHECKING:
    import xarray

_UNFINISHED = re.compile(r"\.dla-[0-9a-f]{32}\.part")


def is_unfinished(file: Path) -> bool:
    """Whether it is a file that `replacing` began and did not end, and not another's."""
    return _UNFINISHED.fullmatch(file.name) is not None and file.is_file() and not file.is_symlink()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file that replaces `path` at the end of the block, and is removed after an error.

    Raises:
        OSError: If it cannot be written; names `path`.
    """
    # In the same folder, since only there it can be moved in one step; a name that nobody can have taken before.
    unfinished = path.with_name(f".dla-{secrets.token_hex(16)}.part")
    try:
        unfinished.open("xb").close()
        try:
            yield unfinished
            unfinished.replace(path)
        finally:
            with suppress(OSError):  # where the folder is gone, so is the file
                unfinished.unlink(missing_ok=True)
    except OSError as error:
        # The user knows the name that was passed, not that of the unfinished file.
        if error.errno is None or unfinished.name not in str(error):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def check_writable(path: Path) -> None:
    """Whether a file can be written, without touching what is there.

    Raises:
        OSError: If it cannot; names `path`.
    """
    with suppress(_Enough), replacing(path):
        raise _Enough


class _Enough(Exception):
    """Ends `replacing` before it replaces."""


def write_dataset(data: "xarray.Dataset", path: Path) -> None:
    """Writes a dataset as netCDF, with a checksum after its end."""
    with replacing(path) as unfinished:
        data.to_netcdf(unfinished, engine="h5netcdf")
        seal_file(unfinished)


def read_dataset(path: Path, names: Container[str], *formats: str) -> "xarray.Dataset":
    """Reads a whole dataset into memory.

    Args:
        path: The file.
        names: The names that variables and dimensions may have.
        formats: The formats that are read, the newest first.

    Raises:
        FileNotFoundError: If there is no such file.
        FileFormatError: If it is not what `write_dataset` wrote.
        OSError: If it may not be read.
    """
    import xarray  # slow to import; see `to_dataset`

    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    try:
        check_sealed_file(path)  # before HDF5 reads it: one bit may send it round in circles
        _check_variables(path, names, formats)
        with xarray.open_dataset(path, engine="h5netcdf") as data:
            return data.load()
    except (PermissionError, FileFormatError):
        raise
    except Exception as error:  # HDF5 and xarray raise errors of many classes for what they do not expect
        raise FileFormatError(
            f"{str(path)!r} is not an attribution saved by this library, or was cut short or edited "
            f"({as_text(str(error))}). Save it again."
        ) from error


def _check_variables(path: Path, names: Container[str], formats: Sequence[str]) -> None:
    """Looks at what a file says that it holds, before room is made for it.

    Raises:
        FileFormatError: If it was written by a newer version, whose variables are not known.
        ValueError: If a variable has another name, lies in another file, or would be larger than the file.
    """
    import h5py

    with h5py.File(path) as file:
        if "format" in file.attrs and file.attrs["format"] not in formats:
            check_format(file.attrs["format"], formats[0])
        for name in file:
            inside = isinstance(file.get(name, getlink=True), h5py.HardLink)
            if name not in names or not inside or not isinstance(file[name], h5py.Dataset):
                raise ValueError(f"it holds {name[:40]!r}, which is not one of its variables")
            if file[name].nbytes > path.stat().st_size or file[name].external or file[name].is_virtual:
                raise ValueError(f"{name!r} of shape {file[name].shape} is more than the file can hold")
