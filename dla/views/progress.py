"""How far a loop is: a bar on the terminal, gone when the loop ends."""

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def followed(things: Sequence[T], what: str, wanted: bool | None) -> Iterator[T]:
    """The things one by one, with a bar on stderr; quiet where that is no terminal, or the user does not want it.

    Args:
        things: What is gone through.
        what: The word beside the bar.
        wanted: Whether to show it; None shows it on a terminal.
    """
    quiet = not (sys.stderr.isatty() if wanted is None else wanted)
    yield from track(things, what, console=Console(stderr=True), transient=True, disable=quiet)
