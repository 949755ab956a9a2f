"""The largest and the smallest: parts by their means, prompts by their values."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from dla.summaries.extremes import Example
from dla.summaries.tally import Tally


def ranked(
    labels: Sequence[str], tally: Tally, k: int, by: Literal["value", "abs"], *, largest: bool = True
) -> list[tuple[str, float]]:
    """The `k` parts with the largest or the smallest means, or means of either sign."""
    means = tally.moments.mean[: len(labels)]
    order = np.abs(means) if by == "abs" else means
    best = np.argsort(-order if largest else order, kind="stable")[:k].tolist()
    return [(labels[i], float(means[i])) for i in best]


def examples(measure: int, tally: Tally, k: int, end: int) -> list[Example]:
    """The `k` prompts at one end of a measure: 0 for the largest values, 1 for the smallest.

    Raises:
        ValueError: If fewer were kept.
    """
    kept = tally.extremes.keys.shape[2]
    if k > kept:
        raise ValueError(f"The summary keeps {kept} prompts at each end, not {k}. Pass top_k={k} to Summary.load.")
    return tally.extremes.examples(measure, end, k)
