"""A sample of the rows that were read, by which rows that were read twice are noticed."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import UInt64

_SIZE = 4096


@final
@dataclass(frozen=True, eq=False)
class RowSample:
    """The smallest keys of the rows read so far. Keys are hashes, so the rows are as good as drawn at random.

    A row read by two summaries is in both samples if its key is small enough, whatever else they read: up to 4096 rows
    no common row is missed, and of many rows each common one is seen with the same chance.

    Source: Broder, "On the resemblance and containment of documents" (1997).

    Attributes:
        keys: The keys, smallest first.
    """

    keys: UInt64[np.ndarray, " key"]

    @classmethod
    def of(cls, keys: UInt64[np.ndarray, " row"]) -> "RowSample":
        """The sample of some rows."""
        return cls(np.sort(keys)[:_SIZE])

    def merge(self, other: "RowSample") -> "RowSample":
        """The sample of the rows of both."""
        return RowSample.of(np.concatenate([self.keys, other.keys]))

    def common(self, other: "RowSample") -> int:
        """How many rows are in both samples."""
        return len(np.intersect1d(self.keys, other.keys))

    def repeated(self) -> int:
        """How many of its rows are there more than once."""
        return len(self.keys) - len(np.unique(self.keys))
