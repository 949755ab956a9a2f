"""A sweep over a real model: what was killed half-way goes on, and ends with the rows of one that was not."""

import multiprocessing
import os
import signal
import time
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import real_by_hand as by_hand
import torch
from real_assertions import CLOSE, assert_near
from real_models import FACTS, adapted, token

import dla

pytestmark = pytest.mark.slow

SETTINGS = {"window": 4, "batch_tokens": 32}


@pytest.fixture(scope="module")
def attributor():
    return dla.Attributor(adapted(), dla.HeadDecomposer())


@pytest.fixture(scope="module")
def corpus():
    return pd.DataFrame(map(asdict, FACTS))


@pytest.fixture(scope="module")
def whole(attributor, corpus, tmp_path_factory):
    """A sweep that nothing stopped."""
    return dla.sweep(corpus, attributor, tmp_path_factory.mktemp("whole"), **SETTINGS)


def by_row(folder):
    """The labels, and the values of each row of the corpus."""
    values = {}
    for shard in folder.shards():
        values |= dict(zip(shard.prompts["row"].tolist(), shard.values, strict=True))
    return values


def test_the_sweeps_rows_are_those_of_hugging_faces_modules(whole):
    values = by_row(whole)
    assert sorted(values) == list(range(len(FACTS)))
    for row, fact in enumerate(FACTS):
        run = by_hand.run_of(fact.prompt)
        reading = run.reading({token(fact.answer): 1.0, token(fact.incorrect): -1.0})
        rows = by_hand.heads(run, run.direction(reading))
        wanted = torch.stack([rows[label][-1] for label in whole.labels])
        assert_near(torch.from_numpy(np.array(values[row])), wanted, CLOSE)


def test_a_sweep_that_is_killed_goes_on_with_the_same_rows(attributor, corpus, whole, tmp_path):
    process = multiprocessing.get_context("fork").Process(
        target=dla.sweep, args=(corpus, attributor, tmp_path), kwargs=SETTINGS
    )
    process.start()
    while not list((tmp_path / "results").glob("0*.json")):  # written last: the shard is whole
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    begun = dla.open_sweep(tmp_path)
    assert not begun.complete
    assert 0 < len(by_row(begun)) < len(FACTS)
    done = dla.sweep(corpus, attributor, tmp_path, **SETTINGS)
    assert done.complete
    values, expected = by_row(done), by_row(whole)
    assert sorted(values) == sorted(expected)
    for row in expected:
        np.testing.assert_array_equal(values[row], expected[row])


def test_the_summary_is_the_mean_over_the_prompts(whole):
    summary = dla.Summary.load(whole.path)
    values = np.stack([by_row(whole)[row] for row in range(len(FACTS))]).astype(float).mean(0)
    means = dict(summary.top(len(whole.labels)))
    assert means == pytest.approx(dict(zip(whole.labels, values, strict=True)), abs=1e-6)
