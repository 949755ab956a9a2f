"""What decides on the batches: the same settings and the same corpus give the same batches."""

from dataclasses import dataclass
from typing import final

_VALUES = 2**22
"""How many values a batch may hold at most, so that its table of parts stays small."""


@final
@dataclass(frozen=True)
class Settings:
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

    def __post_init__(self) -> None:
        for name, value in (("limit", self.limit), ("batch_tokens", self.batch_tokens), ("window", self.window)):
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}; pass a whole number from 1 up.")

    def rows(self, size: int) -> int:
        """How many rows of a corpus of that size are taken."""
        return size if self.limit is None else min(self.limit, size)

    def most(self, parts: int) -> int:
        """How many prompts a batch has at most."""
        return max(1, _VALUES // parts)
