"""How far a sweep is: a bar with the rate and the time left, on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


@final
class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.3g} rows/s")


@contextmanager
def progress_bar(total: int, wanted: bool | None) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr; quiet where that is no terminal, or the user does not want it.

    Args:
        total: How many rows there are.
        wanted: Whether to show it; None shows it on a terminal.

    Yields:
        Moves the bar, given how many rows were attributed and how many rejected, since the sweep began.
    """
    quiet = not (sys.stderr.isatty() if wanted is None else wanted)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("sweep", total=total)

        def move(prompts: int, rejected: int) -> None:
            what = f"sweep ({rejected} rejected)" if rejected else "sweep"
            progress.update(task, completed=prompts + rejected, description=what)

        yield move
