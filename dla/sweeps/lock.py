"""One process at a time writes into a folder."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dla.errors import DLAError
from dla.sweeps.schema import LOCK


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock. The system lets go of it when the process ends, however it ends.

    Raises:
        DLAError: If another process holds it.
    """
    # "a" makes the file without emptying it: it may hold the number of the process that has the lock
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        if not _taken(file.fileno()):
            file.seek(0)
            raise DLAError(
                f"Another process ({file.read().strip() or 'unknown'}) is sweeping into {str(folder)!r}. Wait for it, "
                "stop it, or pass another folder."
            )
        file.truncate(0)
        file.write(f"pid {os.getpid()}\n")
        file.flush()
        yield  # the file stays: whoever removes it may remove the lock of the next one


def _taken(file: int) -> bool:
    try:
        fcntl = importlib.import_module("fcntl")
    except ImportError:  # Windows has no such locks: nothing keeps two sweeps apart there
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
