"""Attributions on disk: netCDF, written whole or not at all. Nothing here can run code from a file."""

import os
from pathlib import Path

import xarray as xr

from dla.errors import FileFormatError


def write_dataset(data: xr.Dataset, path: Path) -> None:
    """Writes next to the target and moves into place."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        data.to_netcdf(unfinished, engine="h5netcdf")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_dataset(path: Path) -> xr.Dataset:
    """Reads a whole dataset into memory.

    Raises:
        FileNotFoundError: If there is no such file.
        FileFormatError: If it is not netCDF, or was cut short.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as data:
            return data.load()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise FileFormatError(
            f"{str(path)!r} is not an attribution saved by this library, or was cut short ({error}). Save it again."
        ) from error
