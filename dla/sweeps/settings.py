"""What decides on the batches: the same settings and the same corpus give the same batches."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np

_VALUES = 2**22
"""How many values a batch may hold at most, so that its table of parts stays small."""


@final
@dataclass(frozen=True)
class BatchSettings:
    """How a sweep goes over the corpus.

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
        """The settings that a user passes.

        Raises:
            ValueError: If a number is too small.
            TypeError: If one is no whole number, or `prepend_bos` is none of True, False and None.
        """
        if not isinstance(prepend_bos, bool | None):
            raise TypeError(f"prepend_bos={prepend_bos!r}; pass True, False, or None for the model's default.")
        rows = None if limit is None else _whole("limit", limit)
        return BatchSettings(rows, _whole("batch_tokens", batch_tokens), _whole("window", window), prepend_bos, check)

    def rows(self, size: int) -> int:
        """How many rows of a corpus of that size are taken."""
        return size if self.limit is None else min(self.limit, size)

    def most(self, parts: int) -> int:
        """How many prompts a batch has at most."""
        return max(1, _VALUES // parts)


def _whole(name: str, value: Any) -> int:
    """A whole number from 1 up; NumPy's are as good as Python's."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}={value!r}, of type {type(value).__name__}; pass a whole number from 1 up.")
    if value < 1:
        raise ValueError(f"{name}={value}; pass a whole number from 1 up.")
    return int(value)
