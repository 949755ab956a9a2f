"""Do intervals enclose the mean as often as they say?"""

import math

import numpy as np
import pandas as pd
import pytest
from folders import corpus, drawn, write_folder

import dla
from dla.summaries.moments import Moments
from dla.summaries.replicates import Replicates
from dla.summaries.row_keys import halves, poisson_weights, row_keys

CORPORA = 4000
NONE = Replicates(np.zeros(0), np.zeros((0, CORPORA)))


def keys(n, seed=0):
    return np.random.default_rng([seed, 7]).integers(0, 2**63, n).astype(np.uint64)


def coverage(interval, rows, replicates=NONE):
    """The share of corpora, one a column, whose interval encloses the population's mean, which is 0."""
    low, high = interval.bounds(Moments.of(rows), replicates)
    return float(((low <= 0) & (high >= 0)).mean())


def populations(n, seed=0):
    """Corpora of `n` rows, from a symmetric and from a skewed population."""
    rng = np.random.default_rng([n, seed])
    return {"normal": rng.normal(0, 3, (n, CORPORA)), "skewed": rng.exponential(2, (n, CORPORA)) - 2}


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("n", [2, 3, 6, 40, 300])
def test_the_normal_interval_covers_the_mean(n, level):
    found = coverage(dla.NormalInterval(level), populations(n)["normal"])
    assert found == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / CORPORA))


def test_many_rows_make_up_for_a_skewed_population():
    assert coverage(dla.NormalInterval(), populations(800)["skewed"]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("kind", ["normal", "skewed"])
def test_the_bootstrap_interval_covers_the_mean(kind):
    rows = populations(200)[kind]
    replicates = Replicates.of(rows, keys(200), 500, seed=0)
    assert coverage(dla.BootstrapInterval(), rows, replicates) == pytest.approx(0.945, abs=0.02)
    assert coverage(dla.BootstrapInterval(0.5), rows, replicates) == pytest.approx(0.5, abs=0.05)


def test_the_spread_of_the_replicates_is_the_standard_error():
    rows = populations(500)["skewed"]
    spread = Replicates.of(rows, keys(500), 400, seed=1).means.std(0)
    assert np.median(spread / Moments.of(rows).standard_error) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("p", "df", "quantile"),
    [
        *((0.975, 1, 12.7062047), (0.975, 2, 4.3026527), (0.975, 3, 3.1824463), (0.975, 10, 2.2281389)),
        *((0.95, 5, 2.0150484), (0.995, 4, 4.6040949), (0.995, 7, 3.4994833), (0.75, 1, 1.0)),
        *((0.975, 30, 2.0422725), (0.975, 100, 1.9839715), (0.975, 1000, 1.9623391), (0.9995, 1000, 3.3002826)),
    ],
)
def test_quantiles_are_those_of_the_tables(p, df, quantile):
    rows = np.resize([-1.0, 1.0], df + 1)[:, None] * [1, 3] + 5
    moments = Moments.of(rows)
    low, high = dla.NormalInterval(2 * p - 1).bounds(moments, NONE)
    np.testing.assert_allclose((high - moments.mean) / moments.standard_error, quantile, atol=1e-7)
    np.testing.assert_allclose((low - moments.mean) / moments.standard_error, -quantile, atol=1e-7)


@pytest.mark.parametrize("kind", [dla.NormalInterval, dla.BootstrapInterval])
@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, -0.1])
def test_a_level_is_a_share(kind, level):
    with pytest.raises(ValueError, match=rf"a share between 0 and 1, not {level}. Pass 0.95 for 95 %"):
        kind(level)


def test_a_bootstrap_needs_replicates(tmp_path):
    summary = dla.Summary.load(write_folder(tmp_path / "s", corpus(9), drawn(9)))
    with pytest.raises(ValueError, match=r"no bootstrap replicates.*Summary.load\(folder, bootstrap=1000\)"):
        summary.to_dataframe(dla.BootstrapInterval())


def test_a_wider_level_is_wider(tmp_path):
    summary = dla.Summary.load(write_folder(tmp_path / "s", corpus(40), drawn(40)), bootstrap=200)
    for kind in (dla.NormalInterval, dla.BootstrapInterval):
        narrow, wide = (summary.to_dataframe(kind(level)) for level in (0.8, 0.99))
        assert (wide["low"] < narrow["low"]).all()
        assert (wide["high"] > narrow["high"]).all()
        assert ((narrow["low"] < narrow["mean"]) & (narrow["mean"] < narrow["high"])).all()


def test_weights_are_poisson_and_independent():
    weights = poisson_weights(keys(2000), seed=3, n=200)
    shares = [float((weights == k).mean()) for k in range(6)]
    np.testing.assert_allclose(shares, [math.exp(-1) / math.factorial(k) for k in range(6)], atol=3e-3)
    assert weights.max() < 12
    assert np.abs(np.corrcoef(weights.T) - np.eye(200)).max() < 0.12, "replicates are drawn alike"
    assert np.abs(np.corrcoef(weights[:200]) - np.eye(200)).max() < 0.4, "rows are drawn alike"


def test_weights_belong_to_the_row_the_seed_and_the_replicate():
    some = keys(50)
    weights = poisson_weights(some, seed=1, n=30)
    order = np.random.default_rng(0).permutation(50)
    np.testing.assert_array_equal(poisson_weights(some[order], seed=1, n=30), weights[order])
    np.testing.assert_array_equal(poisson_weights(some, seed=1, n=10), weights[:, :10])
    assert (poisson_weights(some, seed=2, n=30) != weights).mean() > 0.4


def test_halves_are_halves_and_unlike_the_weights():
    some = keys(4000)
    half = halves(some, seed=0)
    assert half.mean() == pytest.approx(0.5, abs=0.03)
    assert (half != halves(some, seed=1)).mean() == pytest.approx(0.5, abs=0.03)
    assert abs(np.corrcoef(half, poisson_weights(some, seed=0, n=1)[:, 0])[0, 1]) < 0.06


def test_each_row_has_a_key_of_its_own():
    prompts = corpus(3)
    assert len(set(row_keys(prompts).tolist())) == 3
    for column, value in (("row", 9), ("prompt", "another"), ("answer", " Tim"), ("incorrect", None)):
        changed = prompts.astype(object)
        changed.loc[1, column] = value
        assert (row_keys(changed) != row_keys(prompts)).tolist() == [False, True, False], column
    # a column of numbers is read as floats where some are missing, and the row does not change by that
    ids = prompts.assign(answer=[464, 12, 7], position=[3, 2, 1])
    missing = pd.DataFrame(ids).assign(answer=[464.0, 12.0, None], position=[3.0, None, 1.0])
    assert (row_keys(ids) == row_keys(missing)).tolist() == [True, False, False]
    # what else stands in a row, and its neighbours, do not matter
    np.testing.assert_array_equal(row_keys(prompts.assign(length=0)[1:]), row_keys(prompts)[1:])
