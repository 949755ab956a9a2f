"""What a check found, step by step."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import final

from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

from dla.text import as_text
from dla.views.grid import Grid
from dla.views.text import as_printed


@final
@dataclass(frozen=True)
class CheckResult:
    """One thing that was looked at.

    Attributes:
        name: What: "block 0" or "final norm" of an adapter, the name of a law for a decomposer.
        found: What there is.
        problem: What is wrong with it, and where to look; empty if nothing is.
        raised: Whether what is wrong is an exception of what is checked: it may end any check, whatever that is about.
        seconds: How long it took, of the processor's time.
    """

    name: str
    found: str = ""
    problem: str = ""
    raised: bool = False
    seconds: float = field(default=0.0, compare=False)

    @property
    def ok(self) -> bool:
        """Whether it is right."""
        return not self.problem

    def __str__(self) -> str:
        return f"{self.name}: " + " ".join(text for text in (self.found, self.problem) if text)


@final
@dataclass(frozen=True)
class Report:
    """What `check_adapter`, `check_decomposer` or `check_direction` found; prints as a table.

    Attributes:
        title: What was checked.
        steps: What was looked at. An adapter's are in the order in which a wrong one spoils those after it, and end
            where nothing else can be looked at.
    """

    title: str
    steps: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """Whether every step is right."""
        return all(step.ok for step in self.steps)

    def first_failure(self) -> CheckResult | None:
        """What tells most of what is wrong; None if nothing is.

        It is the first step that is wrong; one that an exception ended tells most only where all were.
        """
        wrong = sorted(self.failures(), key=lambda step: step.raised)
        return wrong[0] if wrong else None

    def failures(self) -> tuple[CheckResult, ...]:
        """Every step that is wrong."""
        return tuple(step for step in self.steps if not step.ok)

    def raise_for_failure(self) -> None:
        """Nothing if all is right.

        Raises:
            AssertionError: If something is not; it says what.
        """
        if not self.ok:
            raise AssertionError("\n\n".join((self.title, *(f"{s.name}: {s.problem}" for s in self.failures()))))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text]:
        yield from self._table(timed=any(step.seconds >= 0.05 for step in self.steps))

    def _table(self, *, timed: bool) -> Iterator[Table | Text]:
        table = Table(title=Text(as_text(self.title)), title_justify="left", title_style="bold", show_lines=False)
        table.add_column("", width=1)
        table.add_column("step", no_wrap=True)
        table.add_column("what was found", overflow="fold")
        if timed:
            table.add_column("seconds", justify="right")
        for step in self.steps:
            mark = Text("✓", style="green") if step.ok else Text("✗", style="bold red")
            found, problem = as_printed(step.found), as_printed(step.problem)
            problem.stylize("red")
            found = Text("\n").join(text for text in (found, problem) if text)
            table.add_row(mark, Text(as_text(step.name)), found, *([f"{step.seconds:.1f}"] if timed else []))
        yield table
        failure = self.first_failure()
        if failure is not None:
            yield Text(f"First wrong: {as_text(failure.name)}.", style="bold red")

    def _repr_html_(self) -> str:
        rows = [(s.name, "✓" if s.ok else "✗", _evidence(s), f"{s.seconds:.1f}") for s in self.steps]
        head = ("law", "verdict", "evidence", "seconds")
        # A diagnosis has lines, which HTML would join.
        return Grid.of_rows(self.title, head, rows, words=head[1:3]).html().replace("\\n", "<br>")

    def __str__(self) -> str:
        """The table without times, which are others whenever it is made."""
        console = Console(width=120, no_color=True, highlight=False)
        with console.capture() as capture:
            console.print(*self._table(timed=False), sep="\n")
        return capture.get()


def _evidence(step: CheckResult) -> str:
    return "\n".join(text for text in (step.found, step.problem) if text)


def first_of_each(found: Iterable[tuple[str, CheckResult]]) -> tuple[CheckResult, ...]:
    """One step of each name, of several tries: the first that is wrong, with what it was tried on."""
    steps: dict[str, CheckResult] = {}
    for on, step in found:
        if step.name not in steps or steps[step.name].ok:
            steps[step.name] = step if step.ok else replace(step, problem=f"{on}: {step.problem}")
    return tuple(steps.values())


def timed(steps: Iterable[CheckResult]) -> Iterator[CheckResult]:
    """The steps, each with the processor's time that it took."""
    began = time.process_time()
    for step in steps:
        yield replace(step, seconds=time.process_time() - began)
        began = time.process_time()
