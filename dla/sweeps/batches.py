"""Which questions run together: prompts of about the same length, as many as fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from dla.sweeps.questions import SweepRow


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """Questions that run together.

    Attributes:
        number: The batch's number: the first row of its window, plus its place in the window.
        questions: In the order of their rows; none where no row of a window can be asked.
    """

    number: int
    questions: tuple[SweepRow, ...]


def planned(start: int, questions: Sequence[SweepRow], tokens: int, most: int) -> list[Batch]:
    """The batches of one window, the longest prompts first; at least one.

    Args:
        start: The window's first row.
        questions: The window's questions.
        tokens: How many tokens a batch has at most, padding included.
        most: How many prompts a batch has at most.
    """
    batches: list[list[SweepRow]] = [[]]
    for question in sorted(questions, key=lambda q: (-len(q.ids), q.number)):
        batch = batches[-1]
        if batch and (len(batch) >= most or (len(batch) + 1) * len(batch[0].ids) > tokens):
            batch = []
            batches.append(batch)
        batch.append(question)
    return [Batch(start + i, tuple(sorted(batch, key=lambda q: q.number))) for i, batch in enumerate(batches)]
