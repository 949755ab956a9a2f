"""Whether two summaries hold the same numbers, up to the rounding of sums in another order."""

import numpy as np


def assert_alike(one, other):
    """The same groups, and the same of everything that is kept of each."""
    assert one.groups == other.groups
    for group in one.groups:
        assert_tallies_alike(one.tallies[group], other.tallies[group])


def assert_tallies_alike(one, other):
    for mine, yours in zip(one.halves, other.halves, strict=True):
        assert mine.count == yours.count
        for name in ("low", "high", "positive"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(yours, name))
        size = np.maximum(np.abs(mine.low), np.abs(mine.high))
        assert not mine.count or np.all(np.abs(mine.mean - yours.mean) <= 1e-14 * mine.count * size)
        assert not mine.count or np.all(np.abs(mine.squares - yours.squares) <= 1e-13 * mine.count * size**2)
    np.testing.assert_array_equal(one.replicates.weights, other.replicates.weights)
    np.testing.assert_allclose(one.replicates.sums, other.replicates.sums, rtol=1e-10, atol=1e-10)
    mine, yours = one.extremes.ordered(), other.extremes.ordered()
    np.testing.assert_array_equal(mine.keys, yours.keys)
    np.testing.assert_array_equal(mine.values, yours.values)
    assert one.extremes.texts == other.extremes.texts
    np.testing.assert_array_equal(one.sample, other.sample)
