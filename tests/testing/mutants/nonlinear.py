"""Decompositions whose rows are not what the direction reads of any vector."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import dla
from dla.adapters import Heads
from dla.decomposers import Item, Rows
from mutants.splitting import SplitsHeads


@final
@dataclass(frozen=True)
class SharesByMagnitude(SplitsHeads):
    """Heads as shares of their sublayer: each gets `|value| / Σ |value|` of the sum."""

    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[Item]:
        def shared(rows: Rows) -> Rows:
            size = rows.values.abs()
            return replace(rows, values=rows.values.sum(0) * size / size.sum(0))

        return [dla.Entry.of(heads.write()).then(shared), *heads.biases()]
