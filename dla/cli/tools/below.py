"""Files that an agent may name: those below one folder, reached without links."""

import os
from pathlib import Path


def below(folder: Path, name: str) -> Path:
    """The file or folder of that name.

    Args:
        folder: Where it must be.
        name: Its path there.

    Raises:
        ValueError: If it is not there, leads out of the folder, or is or holds a link.
    """
    wrong = f"{name!r} is not below the folder that this server reads."
    remedy = "Pass a path relative to that folder, without '..' and without links."
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{wrong} {remedy}")
    root = folder.resolve(strict=True)
    path = root / name
    if any(step.is_symlink() for step in [path, *path.parents] if step.is_relative_to(root) and step != root):
        raise ValueError(f"{wrong} {remedy}")
    if not path.exists():
        raise ValueError(f"There is no file or folder {name!r} below the folder that this server reads. {remedy}")
    if not path.resolve(strict=True).is_relative_to(root) or _holds_links(path):
        raise ValueError(f"{wrong} {remedy}")
    return path


def _holds_links(folder: Path) -> bool:
    return any((Path(at) / name).is_symlink() for at, folders, files in os.walk(folder) for name in (*folders, *files))
