"""Results in one line, as a Python prompt shows them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dla.views.grid import signed


def mean_of(values: Float[Tensor, "..."]) -> str:
    """A number, or the mean of several and how many they are; NaN does not count."""
    known = values.detach().to("cpu", torch.float64).flatten()
    known = known[~known.isnan()]
    return signed(float(known.mean())) + (f" (mean of {len(known)})" if len(known) > 1 else "")


def listed(rows: Sequence[tuple[str, float]], shown: int = 3) -> str:
    """The first rows of a ranking."""
    return ", ".join(f"{label!r} {signed(value)}" for label, value in rows[:shown])
