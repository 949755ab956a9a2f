"""What tells one row from all others, and what is drawn for it.

It depends on nothing but the row and the seed: not on the shard that holds the row, nor on what was read before.
"""

from hashlib import blake2b

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64, UInt64

from dla.summaries.row_batches import plain_values

IDENTIFYING = ("row", "prompt", "answer", "incorrect", "position")
"""The columns that tell a row from all others, also from those of another corpus."""

PAIRING = ("row", "prompt")
"""The columns that two sweeps of one corpus have in common, whatever was asked."""

_HALVES, _WEIGHTS = 0, 1
_STEP = np.uint64(0x9E3779B97F4A7C15)

# P(X <= k) of the Poisson distribution with mean 1, as shares of 2**64.
_POISSON = (np.cumsum(np.exp(-1) / np.cumprod([1, *range(1, 16)])) * 2.0**64).astype(np.uint64)


def row_keys(prompts: pd.DataFrame, columns: tuple[str, ...] = IDENTIFYING) -> UInt64[np.ndarray, " row"]:
    """One number per row, a hash of what stands in those of the columns that there are."""
    there = (plain_values(prompts, name) for name in columns if name in prompts.columns)
    texts = zip(*(["" if value is None else str(value) for value in values] for values in there), strict=True)
    digests = (blake2b("\0".join(row).encode("utf-8", "surrogatepass"), digest_size=8).digest() for row in texts)
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def halves(keys: UInt64[np.ndarray, " row"], seed: int) -> Int64[np.ndarray, " row"]:
    """The half of the corpus that each row belongs to, 0 or 1."""
    return (_drawn(keys, seed, _HALVES, 1)[:, 0] >> np.uint64(63)).astype(np.int64)


def poisson_weights(keys: UInt64[np.ndarray, " row"], seed: int, n: int) -> Float64[np.ndarray, "row replicate"]:
    """How often each row is drawn in each of `n` bootstrap replicates: a Poisson variable with mean 1.

    Resampling with replacement draws a row about that often; independent draws make it possible in one pass.

    Source: Hanley, MacGibbon, "Creating non-parametric bootstrap samples using Poisson frequencies", Computer Methods
    and Programs in Biomedicine 83 (2006); Chamandy et al., "Estimating uncertainty for massive data streams" (2012).
    """
    return np.searchsorted(_POISSON, _drawn(keys, seed, _WEIGHTS, n), side="right").astype(np.float64)


def _drawn(keys: UInt64[np.ndarray, " row"], seed: int, stream: int, n: int) -> UInt64[np.ndarray, "row n"]:
    """The first `n` numbers of a SplitMix64 generator of each row; its finaliser is how pandas hashes numbers.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    start = pd.util.hash_array(np.array([seed % 2**64, stream], np.uint64))
    states = pd.util.hash_array(keys ^ start[0]) ^ start[1]
    steps = np.arange(1, n + 1, dtype=np.uint64) * _STEP
    return pd.util.hash_array((states[:, None] + steps).ravel()).reshape(len(keys), n)
