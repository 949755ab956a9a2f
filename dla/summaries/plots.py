"""A summary as a figure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dla.views.plots.head_map import heat_map
from dla.views.plots.interval_bars import interval_bars


def figure_of(title: str, groups: Sequence[tuple[str, pd.DataFrame]]) -> Any:
    """Heads of one group as a map of layers and heads; other parts, and several groups, as bars with intervals.

    Args:
        title: What stands above.
        groups: For each group its name and the numbers of the parts.
    """
    parts = groups[0][1]
    if len(groups) == 1 and set(parts["kind"]) == {"head"}:
        return _map_of(title, parts)
    columns = [(name, numbers[["mean", "low", "high"]].to_numpy(np.float64).T) for name, numbers in groups]
    return interval_bars(title, parts["part"].tolist(), [(name, each[0], each[1:]) for name, each in columns])


def _map_of(title: str, heads: pd.DataFrame) -> Any:
    shape = int(heads["layer"].max()) + 1, int(heads["head"].max()) + 1
    values = np.full(shape, np.nan)
    texts = [[""] * shape[1] for _ in range(shape[0])]
    for row in heads.to_dict("records"):
        values[row["layer"], row["head"]] = row["mean"]
        texts[row["layer"]][row["head"]] = f"{row['part']} {row['mean']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
    return heat_map(title, values, texts)
