"""Checksums inside of files, by which one that was damaged or edited is noticed before anything else is read of it."""

import hashlib
from pathlib import Path

_TRAILER = b"\ndla checksum "
_OPENING = b'{"checksum": "'
_CLOSING = b'", '
_DIGITS = 64  # of SHA-256


def checksum(contents: bytes) -> str:
    """Changes when a bit does."""
    return hashlib.sha256(contents).hexdigest()


def seal_file(path: Path) -> None:
    """Appends the checksum of a file to it. Formats that say where they end, such as HDF5, do not mind."""
    found = _checksum_of(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(_TRAILER + found.encode())


def check_sealed_file(path: Path) -> None:
    """Checks that a file is what `seal_file` left.

    Raises:
        ValueError: If it is not; says why.
        OSError: If it cannot be read.
    """
    end = path.stat().st_size - len(_TRAILER) - _DIGITS
    with path.open("rb") as file:
        file.seek(max(0, end))
        trailer = file.read(len(_TRAILER) + _DIGITS)
    if end < 0 or not trailer.startswith(_TRAILER):
        raise ValueError("there is no checksum at its end")
    _compare(_checksum_of(path, end), trailer.removeprefix(_TRAILER).decode("ascii", "replace"))


def sealed_json(text: str) -> str:
    """The text of a JSON object, which is not empty, with its checksum as the first field."""
    return f"{_OPENING.decode()}{checksum(text.encode())}{_CLOSING.decode()}{text.removeprefix('{')}"


def unsealed_json(contents: bytes) -> bytes:
    """The text that `sealed_json` was given.

    Raises:
        ValueError: If it is another one, or has no checksum.
    """
    told, rest = contents[len(_OPENING) :][:_DIGITS], contents[len(_OPENING) + _DIGITS :]
    if not contents.startswith(_OPENING) or not rest.startswith(_CLOSING):
        raise ValueError("it does not begin with a checksum")
    text = b"{" + rest.removeprefix(_CLOSING)
    _compare(checksum(text), told.decode("ascii", "replace"))
    return text


def _compare(found: str, told: str) -> None:
    if found != told:
        raise ValueError(f"its checksum is {found[:8]}, and {told[:8]} was noted when it was written")


def _checksum_of(path: Path, size: int) -> str:
    """The checksum of the first bytes of a file, of which few are in memory at a time."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (piece := file.read(min(size, 2**20))):
            total.update(piece)
            size -= len(piece)
    return total.hexdigest()
