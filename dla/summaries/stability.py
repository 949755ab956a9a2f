"""Does a ranking hold on the second half?"""

from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd

from dla.inputs.given import Count, count, shown
from dla.summaries.tally import Tally
from dla.views.grid import Grid


@final
@dataclass(frozen=True)
class Stability:
    """How alike the parts rank in two halves of the rows, which share none.

    Attributes:
        spearman: Spearman's rank correlation of the parts' means; NaN where it is not defined.
        common: The share of the `k` largest parts of one half that are among those of the other.
        k: How many parts `common` looks at.
        counts: How many rows each half has.
    """

    spearman: float
    common: float
    k: int
    counts: tuple[int, int]

    def _repr_html_(self) -> str:
        rows = [("rank correlation", f"{self.spearman:.3f}"), (f"common among the top {self.k}", f"{self.common:.3f}")]
        rows.append(("rows of the halves", " and ".join(map(str, self.counts))))
        return Grid.of_rows("Two halves of the rows", ("", ""), rows).html()

    @classmethod
    def of(cls, tally: Tally, n_parts: int, k: Count) -> "Stability":
        """How stable the ranking of the first `n_parts` measures is.

        Raises:
            TypeError: If `k` is not a whole number.
            ValueError: If `k` is not a number of parts.
        """
        k = count(k, "k", "parts", least=0)
        if not 0 < k <= n_parts:
            raise ValueError(f"k is {shown(k)}; pass how many of the {n_parts} parts are to be looked at.")
        counts = (tally.halves[0].count, tally.halves[1].count)
        if not all(counts):
            return cls(np.nan, np.nan, k, counts)
        means = pd.DataFrame([half.mean[:n_parts] for half in tally.halves]).T
        tops = [set(np.argsort(-means[half], kind="stable")[:k]) for half in (0, 1)]
        # parts with equal means share their rank
        spearman = float(means.corr("spearman").to_numpy()[0, 1])
        return cls(spearman, len(tops[0] & tops[1]) / k, k, counts)
