"""The largest and the smallest: parts by their means, prompts by their values."""

from typing import Any

import numpy as np

from dla.summaries.about import About
from dla.summaries.extremes import Example
from dla.summaries.tally import Tally


def ranked(about: About, tally: Tally, k: Any, by: str, *, largest: bool = True) -> list[tuple[str, float]]:
    """The `k` parts with the largest or the smallest means, or means of either sign.

    Raises:
        ValueError: If there is no prompt, or `k` or `by` cannot be.
        TypeError: If `k` is no whole number.
    """
    check_count("k", k)
    if by not in ("value", "abs"):
        raise ValueError(f"by={by!r}; pass 'value' or 'abs'.")
    check_any(about, tally)
    means = tally.moments.mean[: len(about.labels)]
    order = np.abs(means) if by == "abs" else means
    best = np.argsort(-order if largest else order, kind="stable")[:k].tolist()
    return [(about.labels[i], float(means[i])) for i in best]


def examples(measure: int, tally: Tally, k: Any, end: int) -> list[Example]:
    """The `k` prompts at one end of a measure: 0 for the largest values, 1 for the smallest.

    Raises:
        ValueError: If fewer were kept.
        TypeError: If `k` is no whole number.
    """
    check_count("k", k)
    kept = tally.extremes.keys.shape[2]
    if k > kept:
        raise ValueError(f"The summary keeps {kept} prompts at each end, not {k}. Pass top_k={k} to Summary.load.")
    return tally.extremes.examples(measure, end, k)


def check_any(about: About, tally: Tally) -> None:
    """Refuses to rank what is zero because there is nothing.

    Raises:
        ValueError: If there is no prompt.
    """
    if not tally.moments.count:
        raise ValueError(about.nothing())


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Whether an argument is a whole number that can be.

    Raises:
        ValueError: If it is too small.
        TypeError: If it is no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}={value!r}, of type {type(value).__name__}; pass a whole number from {least} up.")
    if value < least:
        raise ValueError(f"{name}={value}; pass a whole number from {least} up.")
