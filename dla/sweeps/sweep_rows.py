"""One row of a corpus as it is asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np
from jaxtyping import Int

from dla.sweeps.corpora import CorpusRow


@final
@dataclass(frozen=True, eq=False)
class SweepRow:
    """One prompt and what is asked of it.

    No token of a causal model sees what follows it, so the prompt is cut after the last position that is asked about.

    Attributes:
        source: The row of the corpus.
        ids: The token ids that run: the prompt's up to the position, and an answer of several tokens behind it.
        tokens: How many tokens the whole prompt has.
        at: The position that is asked about; of an answer of several tokens, the one before the first.
        asked: The token of each column that the question names.
        spans: The positions of each span, up to the position that is asked about.
        others: The tokens of the other answer, where an answer of several tokens is compared with one.
        unknown: Whether some of the ids stand for text that the model does not know.
    """

    source: CorpusRow = field(repr=False)
    ids: Int[np.ndarray, " token"] = field(repr=False)
    tokens: int
    at: int
    asked: Mapping[str, int]
    spans: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    others: tuple[int, ...] = ()
    unknown: bool = False

    @property
    def number(self) -> int:
        """The place in the corpus."""
        return self.source.number
