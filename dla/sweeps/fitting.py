"""Batches that may not fit into memory, and rows that fail for reasons of their own."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, final

import torch

from dla.errors import ReconstructionError
from dla.sweeps.measuring import Measured
from dla.sweeps.questions import SweepRow

_T = TypeVar("_T")

_GROW_AFTER = 8
_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


@final
@dataclass(frozen=True)
class Failure:
    """Why some questions got no answer.

    Attributes:
        reason: In words.
        memory: Whether fewer of them may get one.
    """

    reason: str
    memory: bool


@final
class Fitting:
    """Runs batches in pieces: half as large after each time that memory ran out, larger again after some successes."""

    def __init__(self, run: Callable[[Sequence[SweepRow]], Measured], tokens: int) -> None:
        """Tries whole batches at first.

        Args:
            run: Runs the model on some questions.
            tokens: How many tokens a whole batch has at most.
        """
        self._run, self._tokens = run, tokens
        self._cap: int | None = None
        self._successes = 0

    def answers(self, questions: Sequence[SweepRow]) -> tuple[list[Measured], list[str | None]]:
        """What was measured, in order, and for each question why it was not, or None.

        A piece in which a question fails for a reason of its own is cut in halves, until that question is alone.
        """
        measured: list[Measured] = []
        reasons: list[str | None] = []
        waiting = deque(self._pieces(questions))
        while waiting:
            piece = waiting.popleft()
            outcome = self._tried(piece)
            if isinstance(outcome, Measured):
                measured.append(outcome)
                reasons += [None] * len(piece)
            elif len(piece) == 1:
                reasons.append(outcome.reason)
            else:
                if outcome.memory:
                    self._cap, self._successes = _size(piece) // 2, 0
                half = (len(piece) + 1) // 2
                waiting.extendleft([piece[half:], piece[:half]])
        return measured, reasons

    def _pieces(self, questions: Sequence[SweepRow]) -> list[Sequence[SweepRow]]:
        if self._cap is None or not questions:
            return [questions] if questions else []
        count = max(1, self._cap * len(questions) // _size(questions))
        return [questions[i : i + count] for i in range(0, len(questions), count)]

    def _tried(self, questions: Sequence[SweepRow]) -> Measured | Failure:
        failure = attempt(self._run, questions)
        if isinstance(failure, Measured):
            self._grow()
        elif failure.memory and torch.cuda.is_available():
            torch.cuda.empty_cache()  # only now is nothing of the failed pass alive any more
        return failure

    def _grow(self) -> None:
        self._successes += 1
        if self._cap is not None and self._successes >= _GROW_AFTER:
            self._cap, self._successes = 2 * self._cap, 0
            self._cap = None if self._cap >= self._tokens else self._cap


def attempt(run: Callable[[Sequence[SweepRow]], _T], questions: Sequence[SweepRow]) -> _T | Failure:
    """What a run gives for some questions, or why it gives nothing for them.

    Raises:
        RuntimeError: If it fails for a reason that is neither theirs nor that memory runs out.
    """
    try:
        return run(questions)
    except (ReconstructionError, ValueError) as error:
        return Failure(str(error), memory=False)
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
    longest = max(len(question.ids) for question in questions)
    return Failure(f"Memory runs out on this prompt of {longest} tokens, even alone.", memory=True)


def _out_of_memory(error: Exception) -> bool:
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(words in str(error).lower() for words in _WORDS)


def _size(questions: Sequence[SweepRow]) -> int:
    """How many tokens they have together, padding included."""
    return len(questions) * max(len(question.ids) for question in questions)
