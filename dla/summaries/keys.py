"""What is drawn for a row depends on nothing but the row: not on the shard that holds it, nor on what was read before.

Each row has a SplitMix64 generator of its own, started from a hash of the row and the seed.

Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""

import math
from hashlib import blake2b
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Float64, Int64, UInt64

IDENTIFYING = ("row", "prompt", "answer", "incorrect", "position")
"""The columns that tell a row from all others, also from those of another corpus."""

PAIRING = ("row", "prompt")
"""The columns that two sweeps of one corpus have in common, whatever was asked."""

_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = 2**64 - 1
_HALVES, _WEIGHTS = 0, 1
_CUMULATIVE = np.array(
    [min(_MASK, int(share * 2**64)) for share in accumulate(math.exp(-1) / math.factorial(k) for k in range(20))],
    dtype=np.uint64,
)
"""P(X <= k) of the Poisson distribution with mean 1, as shares of 2**64."""


def row_keys(prompts: pd.DataFrame, columns: tuple[str, ...] = IDENTIFYING) -> UInt64[np.ndarray, " row"]:
    """One number a row, a hash of what stands in those of the columns that there are."""
    there = [map(_text, prompts[name].tolist()) for name in columns if name in prompts.columns]
    texts = ("\0".join(words).encode("utf-8", "surrogatepass") for words in zip(*there, strict=True))
    digests = (int.from_bytes(blake2b(text, digest_size=8).digest(), "little") for text in texts)
    return np.fromiter(digests, np.uint64, len(prompts))


def _text(value: object) -> str:
    """A value as text; a whole number is the same as int and as float, which a column with gaps makes of it."""
    if value is None or value != value:
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def halves(keys: UInt64[np.ndarray, " row"], seed: int) -> Int64[np.ndarray, " row"]:
    """The half of the corpus that each row belongs to, 0 or 1."""
    return (_outputs(keys, seed, _HALVES, np.zeros(1, np.uint64))[:, 0] >> np.uint64(63)).astype(np.int64)


def poisson_weights(keys: UInt64[np.ndarray, " row"], seed: int, n: int) -> Float64[np.ndarray, "row replicate"]:
    """How often each row is drawn in each of `n` bootstrap replicates: a Poisson variable with mean 1.

    Resampling with replacement draws a row about that often; independent draws make it possible in one pass.

    Source: Hanley, MacGibbon, "Creating non-parametric bootstrap samples using Poisson frequencies", Computer Methods
    and Programs in Biomedicine 83 (2006); Chamandy et al., "Estimating uncertainty for massive data streams" (2012).
    """
    drawn = _outputs(keys, seed, _WEIGHTS, np.arange(n, dtype=np.uint64))
    return np.searchsorted(_CUMULATIVE, drawn, side="right").astype(np.float64)


def _outputs(
    keys: UInt64[np.ndarray, " row"], seed: int, stream: int, counters: UInt64[np.ndarray, " output"]
) -> UInt64[np.ndarray, "row output"]:
    """The outputs of each row's generator with those numbers."""
    start = _mixed(np.array([seed % 2**64, stream], np.uint64))
    states = _mixed(keys ^ start[0]) ^ start[1]
    return _mixed(states[:, None] + (counters + np.uint64(1)) * np.uint64(_STEP))


def _mixed(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_FIRST)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_SECOND)
    return z ^ (z >> np.uint64(31))
