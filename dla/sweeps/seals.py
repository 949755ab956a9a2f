"""Seals: the checksums by which a file that was damaged, lost or swapped is noticed."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from dla.errors import FileFormatError
from dla.sweeps.parquet import parse_parquet, replacing
from dla.sweeps.schema import SEALS, shard_file, shard_numbers


@final
@dataclass(frozen=True)
class Seal:
    """What the files of one shard are.

    Attributes:
        number: The shard's number.
        prompts: How many prompts were attributed.
        rejected: How many rows were rejected.
        unknown: How many of the prompts hold text that the model does not know.
        files: The checksum of each file, by its path in the folder.
    """

    number: int
    prompts: int
    rejected: int
    unknown: int
    files: Mapping[str, str]

    def of(self, kind: str) -> dict[str, str]:
        """The files of a kind, with their checksums."""
        return {name: checksum for name, checksum in self.files.items() if name.startswith(f"{kind}/")}


def checksum(contents: bytes) -> str:
    """Changes when a bit does."""
    return hashlib.sha256(contents).hexdigest()


def checksums_of(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """The checksum of each of a folder's files, by its path in the folder."""
    return {file.relative_to(folder).as_posix(): checksum(file.read_bytes()) for file in files}


def write_seal(folder: Path, seal: Seal) -> None:
    """Writes a seal, which makes its shard be there."""
    with replacing(shard_file(folder, SEALS, seal.number)) as unfinished:
        unfinished.write_text(json.dumps(asdict(seal)), encoding="utf-8")


def read_seal(folder: Path, number: int) -> Seal | None:
    """The seal of a shard, if the shard is there.

    Raises:
        FileFormatError: If the seal is damaged.
    """
    path = shard_file(folder, SEALS, number)
    if not path.exists():
        return None
    try:
        seal = seal_of(json.loads(path.read_text(encoding="utf-8")))
        if seal.number != number:
            raise ValueError(f"it is that of shard {seal.number}")
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(
            f"{str(path)!r} is damaged ({error}). Delete it: the same call of sweep does its batch again."
        ) from error
    return seal


def seal_of(told: Any) -> Seal:
    """A seal, as JSON has it."""
    return Seal(**{**told, "files": dict(told["files"])})


def seals_in(folder: Path) -> list[Seal]:
    """The seals of a sweep that is not complete, in order of their numbers."""
    found = (read_seal(folder, number) for number in shard_numbers(folder, SEALS))
    return [seal for seal in found if seal is not None]


def read_sealed(folder: Path, name: str, expected: str, remedy: str) -> Any:
    """A Parquet file of a sweep as an Arrow table.

    Args:
        folder: The sweep's.
        name: The file's path in it.
        expected: Its checksum.
        remedy: What to do where it has another.

    Raises:
        FileFormatError: If it is missing, or not what the sweep wrote.
    """
    return parse_parquet(_checked(folder / name, expected, remedy), folder / name)


def check_sealed(folder: Path, files: Mapping[str, str], remedy: str) -> None:
    """Reads files, and compares their checksums.

    Raises:
        FileFormatError: If one is missing, or not what the sweep wrote.
    """
    for name, expected in files.items():
        _checked(folder / name, expected, remedy)


def _checked(path: Path, expected: str, remedy: str) -> bytes:
    try:
        contents = path.read_bytes()
    except FileNotFoundError as error:
        raise FileFormatError(f"{str(path)!r} is missing or damaged (there is no such file). {remedy}") from error
    found = checksum(contents)
    if found != expected:
        raise FileFormatError(
            f"{str(path)!r} is missing or damaged (its checksum is {found[:8]}, and the sweep noted {expected[:8]}). "
            f"{remedy}"
        )
    return contents
