"""Folders in the user's cache: each is made once, whole or not at all."""

import importlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def user_cache() -> Path:
    """Where this library keeps what takes long to make: `dla` in `$XDG_CACHE_HOME`, or in `~/.cache`."""
    # the XDG specification says that a relative path is to be ignored
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".cache") / "dla"


def cached_folder(name: str, write: Callable[[Path], None]) -> Path:
    """A folder of the cache, which `write` fills if there is none of that name yet.

    It is filled under another name and then moved, so a folder that exists is whole. Where two processes want it at
    once one fills it and the other waits.

    Args:
        name: The folder's name.
        write: Fills the empty folder that it is given.
    """
    folder = user_cache() / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _make(folder, write)
    return folder


def _make(folder: Path, write: Callable[[Path], None]) -> None:
    beginning = f".{folder.name}-"
    with _one_at_a_time(folder.with_name(f".{folder.name}.lock")) as alone:
        if folder.is_dir():  # another process made it in the meantime
            return
        if alone:  # so what is still unfinished was left by a process that was killed
            for left in folder.parent.glob(f"{beginning}*"):
                shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=beginning) as parent:
            unfinished = Path(parent) / "unfinished"
            unfinished.mkdir()
            write(unfinished)
            try:
                unfinished.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was first, and its folder is as good
                    raise


@contextmanager
def _one_at_a_time(lock: Path) -> Iterator[bool]:
    """Waits for the other processes that hold the lock; yields False where the system has no such locks (Windows)."""
    with lock.open("a") as file:  # the file stays: whoever removes it may remove the lock of the next one
        try:
            fcntl = importlib.import_module("fcntl")
        except ImportError:
            yield False
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        yield True
