"""The prompts at both ends of a part, and the ranking in two halves."""

import numpy as np
import pytest
from folders import LABELS, corpus, drawn, write_folder
from hypothesis import given
from hypothesis import strategies as st

import dla
from dla.summaries.extremes import Extremes
from dla.summaries.row_keys import halves, row_keys


@given(n=st.integers(0, 30), k=st.integers(0, 6), seed=st.integers(0, 99), cut=st.integers(0, 30))
def test_the_extremes_are_those_of_all_rows(n, k, seed, cut):
    rng = np.random.default_rng(seed)
    keys = rng.permutation(1000)[:n].astype(np.uint64)
    values = rng.integers(-2, 3, (n, 3)).astype(np.float64)
    texts = [(int(key), f"prompt {key}", None, None) for key in keys]
    pieces = [Extremes.of(values[part], keys[part], texts[part], k) for part in (slice(cut), slice(cut, None))]
    found = pieces[0].merge(pieces[1])
    for measure in range(3):
        for end, sign in ((0, -1), (1, 1)):
            order = sorted(range(n), key=lambda row: (sign * values[row, measure], keys[row]))[:k]
            shown = found.prompts(measure, end, k)
            assert [(e.row, e.value) for e in shown] == [(int(keys[r]), values[r, measure]) for r in order]
    assert len(found.texts) <= 2 * 3 * k


def test_a_prompt_comes_with_what_was_asked(tmp_path):
    prompts, values = corpus(30), drawn(30)
    summary = dla.Summary.load(write_folder(tmp_path / "s", prompts, values, sizes=[7, 7]), "order", top_k=4)
    order = np.argsort(-values[:, 2])[:4]
    assert [example.row for example in summary.top_prompts("L0H1", 4)] == order.tolist()
    first = summary.top_prompts("L0H1", 1)[0]
    row = prompts.loc[order[0]]
    assert (first.prompt, first.answer, first.incorrect) == (row["prompt"], row["answer"], " Tom")
    assert first.value == values[order[0], 2]
    assert [example.row for example in summary.bottom_prompts("L0H1", 2)] == np.argsort(values[:, 2])[:2].tolist()
    inside = prompts["order"] == "ABBA"
    best = values[inside][:, 2].max()
    assert summary.group("ABBA").top_prompts("L0H1", 1)[0].value == best


def test_answers_may_be_ids_and_incorrect_ones_missing(tmp_path):
    prompts = corpus(3).assign(answer=[464, 12, 7], incorrect=[3, None, 5])
    summary = dla.Summary.load(write_folder(tmp_path / "s", prompts, drawn(3)))
    found = {example.row: (example.answer, example.incorrect) for example in summary.top_prompts("embed", 3)}
    assert found == {0: (464, 3), 1: (12, None), 2: (7, 5)}
    without = write_folder(tmp_path / "t", prompts.drop(columns="incorrect"), drawn(3))
    assert {example.incorrect for example in dla.Summary.load(without).top_prompts("embed", 3)} == {None}


def test_more_prompts_than_were_kept(tmp_path):
    summary = dla.Summary.load(write_folder(tmp_path / "s", corpus(9), drawn(9)), top_k=2)
    with pytest.raises(ValueError, match=r"keeps 2 prompts at each end, not 3. Pass top_k=3 to Summary.load"):
        summary.top_prompts("embed", 3)
    with pytest.raises(ValueError, match=r"There is no part 'L9H9'"):
        summary.bottom_prompts("L9H9")


def spearman(one, other):
    """By the formula for ranks without ties."""
    ranks = [np.argsort(np.argsort(values)) for values in (one, other)]
    n = len(one)
    return 1 - 6 * float(np.square(ranks[0] - ranks[1]).sum()) / (n * (n**2 - 1))


def test_stability_compares_the_means_of_the_halves(tmp_path):
    labels = tuple(f"L0H{i}" for i in range(12))
    values = drawn(40, labels)
    values -= 0.95 * values.mean(0)  # nearly alike, so that the halves disagree
    folder = write_folder(tmp_path / "s", corpus(40), values, labels=labels)
    found = dla.Summary.load(folder, seed=3).stability(4)
    half = halves(row_keys(corpus(40)), 3)
    means = [values[half == side].astype(np.float64).mean(0) for side in (0, 1)]
    assert found.counts == (int((half == 0).sum()), int((half == 1).sum()))
    assert found.spearman == pytest.approx(spearman(*means), abs=1e-12)
    tops = [set(np.argsort(-mean)[:4].tolist()) for mean in means]
    assert found.common == len(tops[0] & tops[1]) / 4
    assert -1 < found.spearman < 0.9
    assert dla.Summary.load(folder, "order", seed=3).stability(4) == found
    assert dla.Summary.load(folder, seed=4).stability(4) != found


def test_what_is_clear_is_stable_and_noise_is_not(tmp_path):
    noise = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
    clear = noise + np.arange(5, dtype=np.float32)
    assert dla.Summary.load(write_folder(tmp_path / "c", corpus(400), clear)).stability(2).spearman == 1
    many = tuple(f"L0H{i}" for i in range(200))
    noise = np.random.default_rng(0).normal(size=(400, 200)).astype(np.float32)
    found = dla.Summary.load(write_folder(tmp_path / "n", corpus(400), noise, labels=many)).stability(20)
    assert abs(found.spearman) < 0.25
    assert found.common < 0.4


def test_equal_means_share_their_rank(tmp_path):
    values = np.array([[1, 1, 2, 2, 3]], np.float32).repeat(20, 0)
    assert dla.Summary.load(write_folder(tmp_path / "s", corpus(20), values)).stability(1).spearman == 1
    half = halves(row_keys(corpus(20)), 0)
    values = np.where(half[:, None] == 0, [1, 1, 2, 2, 3], [1, 2, 3, 4, 5]).astype(np.float32)
    found = dla.Summary.load(write_folder(tmp_path / "h", corpus(20), values)).stability(1).spearman
    assert found == pytest.approx(3 / np.sqrt(10), abs=1e-12), "the ranks 1.5 1.5 3.5 3.5 5 and 1 2 3 4 5"
    alike = np.ones((20, 5), np.float32)
    assert np.isnan(dla.Summary.load(write_folder(tmp_path / "t", corpus(20), alike)).stability(1).spearman)
    assert np.isnan(dla.Summary.load(write_folder(tmp_path / "u", corpus(1), drawn(1))).stability(1).spearman)


@pytest.mark.parametrize("k", [0, 6])
def test_stability_looks_at_some_of_the_parts(tmp_path, k):
    summary = dla.Summary.load(write_folder(tmp_path / "s", corpus(9), drawn(9)))
    with pytest.raises(ValueError, match=f"k is {k}; pass how many of the {len(LABELS)} parts"):
        summary.stability(k)
