"""Batches: which rows run together, and what becomes of those that cannot."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, final

import torch

from dla.errors import ReconstructionError
from dla.inputs.arguments import flag
from dla.inputs.given import count
from dla.sweeps.measuring import Measurement
from dla.sweeps.sweep_rows import SweepRow

_T = TypeVar("_T")

_VALUES = 2**22
"""How many values a batch may hold at most, so that its table of parts stays small."""

_GROW_AFTER = 8
"""After how many pieces without a failure larger ones are tried again: a failure costs about what a piece does."""

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""How PyTorch's errors tell it that have no type of their own: those of the CPU, and of other devices than CUDA."""


@final
@dataclass(frozen=True)
class BatchSettings:
    """What decides on the batches: the same settings and the same corpus give the same ones.

    Attributes:
        limit: How many rows of the corpus are taken; None for all.
        batch_tokens: How many tokens a batch has at most, padding included; a longer prompt is a batch of its own.
        window: How many rows are read, and sorted by length, at a time.
        prepend_bos: Whether the BOS token is put before a prompt; None does as the model does by default.
        check: What becomes of a row whose parts miss the model's logit: "raise" rejects it, "warn" keeps it.
    """

    limit: int | None
    batch_tokens: int
    window: int
    prepend_bos: bool | None
    check: str

    @staticmethod
    def of(limit: Any, batch_tokens: Any, window: Any, prepend_bos: Any, check: str) -> "BatchSettings":
        """The settings that a user passes; the arguments are the attributes.

        Raises:
            ValueError: If a number is too small.
            TypeError: If one is no whole number, or `prepend_bos` is none of True, False and None.
        """
        flag(prepend_bos, "prepend_bos", "the model's default")
        rows = None if limit is None else count(limit, "limit", "row")
        tokens = count(batch_tokens, "batch_tokens", "token")
        return BatchSettings(rows, tokens, count(window, "window", "row"), prepend_bos, check)

    def rows(self, size: int) -> int:
        """How many rows of a corpus of that size are taken."""
        return size if self.limit is None else min(self.limit, size)


def split_batches(rows: Sequence[SweepRow], settings: BatchSettings, parts: int) -> list[list[SweepRow]]:
    """The batches of one window, the longest prompts first; at least one, which is empty where no row can be asked.

    Args:
        rows: The rows of the window that can be asked.
        settings: How many tokens a batch may have.
        parts: How many parts each row has.
    """
    most = max(1, _VALUES // parts)
    batches: list[list[SweepRow]] = [[]]
    for row in sorted(rows, key=lambda row: (-len(row.ids), row.number)):
        batch = batches[-1]
        if batch and (len(batch) >= most or (len(batch) + 1) * len(batch[0].ids) > settings.batch_tokens):
            batch = []
            batches.append(batch)
        batch.append(row)
    return [sorted(batch, key=lambda row: row.number) for batch in batches]


@final
@dataclass(frozen=True)
class RunFailure:
    """Why some rows were not measured.

    Attributes:
        reason: In words.
        memory: Whether memory ran out, so that fewer of them may do.
    """

    reason: str
    memory: bool


@final
class BatchRunner:
    """Runs batches in pieces: half as large after each time that memory ran out, larger again after some successes."""

    def __init__(self, run: Callable[[Sequence[SweepRow]], Measurement], tokens: int) -> None:
        """Tries whole batches at first.

        Args:
            run: Runs the model on some rows.
            tokens: How many tokens a whole batch has at most.
        """
        self._run, self._tokens = run, tokens
        self._cap: int | None = None
        self._successes = 0

    def run(self, rows: Sequence[SweepRow]) -> Iterator[tuple[Sequence[SweepRow], Measurement | RunFailure]]:
        """The pieces of a batch in order, each with what was measured, or, for a single row, with why it was not.

        A piece in which a row fails for a reason of its own is cut in halves, until that row is alone.
        """
        waiting = deque(self._pieces(rows))
        while waiting:
            piece = waiting.popleft()
            outcome = attempt(self._run, piece)
            if isinstance(outcome, RunFailure):
                self._shrink(outcome, piece)
            else:
                self._grow()
            if isinstance(outcome, RunFailure) and len(piece) > 1:
                half = (len(piece) + 1) // 2
                waiting.extendleft([piece[half:], piece[:half]])
            else:
                yield piece, outcome

    def _pieces(self, rows: Sequence[SweepRow]) -> list[Sequence[SweepRow]]:
        if self._cap is None or not rows:
            return [rows] if rows else []
        size = max(1, self._cap * len(rows) // _tokens_in(rows))
        return [rows[i : i + size] for i in range(0, len(rows), size)]

    def _shrink(self, failure: RunFailure, piece: Sequence[SweepRow]) -> None:
        if failure.memory and len(piece) > 1:
            self._cap, self._successes = _tokens_in(piece) // 2, 0
        if failure.memory and torch.cuda.is_available():
            torch.cuda.empty_cache()  # only now is nothing of the failed pass alive any more

    def _grow(self) -> None:
        self._successes += 1
        if self._cap is not None and self._successes >= _GROW_AFTER:
            self._cap, self._successes = 2 * self._cap, 0
            self._cap = None if self._cap >= self._tokens else self._cap


def attempt(run: Callable[[Sequence[SweepRow]], _T], rows: Sequence[SweepRow]) -> _T | RunFailure:
    """What a run gives for some rows, or why it gives nothing for them.

    Raises:
        RuntimeError: If it fails for a reason that is neither theirs nor that memory runs out.
    """
    try:
        return run(rows)
    except (ReconstructionError, ValueError) as error:
        return RunFailure(str(error), memory=False)
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(words in str(error).lower() for words in _OUT_OF_MEMORY):
            raise
    longest = max(len(row.ids) for row in rows)
    return RunFailure(f"Memory runs out on this prompt of {longest} tokens, even alone.", memory=True)


def _tokens_in(rows: Sequence[SweepRow]) -> int:
    """How many tokens they have together, padding included."""
    return len(rows) * max(len(row.ids) for row in rows)
