"""The versions of file formats: a file of another format is told from one of a newer version of this library."""

import re

from dla.errors import FileFormatError
from dla.text import shortened

_NUMBERED = re.compile(r"(dla\.[a-z.]+)/(\d{1,9})")


def check_format(found: object, own: str) -> None:
    """Checks that a file says to be of a format.

    Args:
        found: What the file says.
        own: The format that is read, such as `dla.attribution/4`.

    Raises:
        FileFormatError: If it is of a newer version of that format.
        ValueError: If it is of another, or says nothing.
    """
    if found == own:
        return
    theirs, ours = _NUMBERED.fullmatch(found) if isinstance(found, str) else None, _NUMBERED.fullmatch(own)
    if theirs is not None and ours is not None and theirs[1] == ours[1] and int(theirs[2]) > int(ours[2]):
        raise FileFormatError(
            f"The file was written by a newer version of this library: its format is {found!r}, and this version reads "
            f"{own!r}. Nothing is wrong with the file; update dla to read it."
        )
    raise ValueError(f"its format is {shortened(repr(found))} and this library reads {own!r}")
