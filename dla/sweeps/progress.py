"""How far a sweep is: a bar with the rate and the time left, on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from dla.sweeps.shards import ShardResult


@final
class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.3g} rows/s")


@final
class ProgressBar:
    """Counts the rows that are done, and shows them."""

    def __init__(self, progress: Progress, total: int) -> None:
        """Begins at none.

        Args:
            progress: What shows it.
            total: How many rows there are.
        """
        self._progress, self._task = progress, progress.add_task("sweep", total=total)
        self.prompts = self.rejected = self.unknown = 0

    def advance(self, result: ShardResult) -> None:
        """Counts the rows of a batch."""
        self.prompts += result.prompts
        self.rejected += result.rejected
        self.unknown += result.unknown
        what = f"sweep ({self.rejected} rejected)" if self.rejected else "sweep"
        self._progress.update(self._task, advance=result.prompts + result.rejected, description=what)


@contextmanager
def progress_bar(total: int, wanted: bool | None) -> Iterator[ProgressBar]:
    """The bar on stderr; quiet where that is no terminal, or the user does not want it."""
    console = Console(stderr=True)
    quiet = not (sys.stderr.isatty() if wanted is None else wanted)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet) as progress:
        yield ProgressBar(progress, total)
