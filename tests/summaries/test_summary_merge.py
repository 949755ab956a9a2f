"""Merging: as one pass over all rows, in whatever order; and what may not be merged."""

from dataclasses import replace

import numpy as np
import pytest
from folders import LABELS, corpus, drawn, parts_of, write_folder
from hypothesis import given
from hypothesis import strategies as st
from likeness import assert_alike, assert_tallies_alike

import dla
from dla.errors import FileFormatError
from dla.summaries.group_by import GroupBy
from dla.summaries.row_batches import RowBatch
from dla.summaries.tally import SummarySettings, Tally, merge_tallies, overall_tally, rows_seen_twice, tallies_of

SETTINGS = SummarySettings(GroupBy.by("order"), top_k=3, bootstrap=8, seed=5)
EVERY = SummarySettings(GroupBy.by(None), top_k=3, bootstrap=8, seed=5)


def blocks(n, pieces, seed):
    """Rows dealt out at random, and all of them together."""
    rng = np.random.default_rng(seed)
    prompts = corpus(n, seed)
    values = rng.integers(-3, 4, (n, 4)).astype(np.float64)  # many values are equal
    dealt = rng.integers(0, pieces, n)
    each = [RowBatch(prompts[dealt == i].reset_index(drop=True), values[dealt == i]) for i in range(pieces)]
    return each, RowBatch(prompts, values)


@given(n=st.integers(0, 40), seed=st.integers(0, 99))
def test_merging_is_one_pass_over_both_commutes_and_associates(n, seed):
    each, whole = blocks(n, 3, seed)
    a, b, c = (tallies_of(block, SETTINGS) for block in each)
    expected = tallies_of(whole, SETTINGS)
    merged = merge_tallies
    for found in (merged(merged(a, b), c), merged(a, merged(b, c)), merged(merged(c, a), b)):
        assert found.keys() == expected.keys()
        for group, tally in expected.items():
            assert_tallies_alike(found[group], tally)


@given(n=st.integers(0, 20), seed=st.integers(0, 99))
def test_an_empty_tally_changes_nothing(n, seed):
    _, whole = blocks(n, 1, seed)
    empty = Tally.empty(4, EVERY)
    tally = tallies_of(whole, EVERY).get((), empty)
    assert_tallies_alike(empty.merge(tally), tally)
    assert_tallies_alike(tally.merge(empty), tally)


@given(n=st.integers(1, 40), seed=st.integers(0, 99))
def test_all_groups_together_are_the_rows_not_split(n, seed):
    _, whole = blocks(n, 1, seed)
    assert_tallies_alike(overall_tally(tallies_of(whole, SETTINGS), 4, SETTINGS), tallies_of(whole, EVERY)[()])


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_and_shards_does_not_matter(tmp_path, seed):
    prompts, values = corpus(300), drawn(300).round(1)
    order = np.random.default_rng(seed).permutation(300)
    one = write_folder(tmp_path / "one", prompts, values, sizes=[120, 50])
    other = write_folder(tmp_path / "other", prompts, values, sizes=[10, 200], order=order)
    loaded = [dla.Summary.load(folder, "length", bootstrap=30) for folder in (one, other)]
    assert_alike(*loaded)
    assert str(loaded[0]) == str(loaded[1])


def test_summaries_of_two_halves_are_the_summary_of_the_whole(tmp_path):
    prompts, values = corpus(200), drawn(200)
    whole = dla.Summary.load(write_folder(tmp_path / "all", prompts, values), "order", bootstrap=20)
    first, second = (
        dla.Summary.load(
            write_folder(tmp_path / str(start), prompts[start:stop].reset_index(drop=True), values[start:stop]),
            "order",
            bootstrap=20,
        )
        for start, stop in ((0, 150), (150, 200))
    )
    both = first.merge(second)
    assert_alike(both, whole)
    assert_alike(second.merge(first), whole)
    assert both.count == 200
    assert both.about.folders == (*first.about.folders, *second.about.folders)
    assert_alike(whole.group("ABBA").merge(whole.group("BABA")), whole)


def test_equal_rows_of_other_corpora_are_other_rows(tmp_path):
    folders = [write_folder(tmp_path / str(seed), corpus(20, seed), drawn(20, seed=seed)) for seed in (0, 1)]
    one, other = (dla.Summary.load(folder, bootstrap=400) for folder in folders)
    assert one.merge(other).count == 40
    # the same row numbers draw other weights: the replicates are independent
    weights = [summary.tallies[()].replicates.weights for summary in (one, other)]
    assert abs(np.corrcoef(*weights)[0, 1]) < 0.2


@pytest.fixture
def summary(tmp_path):
    return dla.Summary.load(write_folder(tmp_path / "s", corpus(60), drawn(60)), "order")


def test_rows_that_would_count_twice_are_refused(summary, tmp_path):
    with pytest.raises(ValueError, match=r"Both summaries hold the same 60 prompts, or more, which would count twice"):
        summary.merge(summary)
    later = dla.Summary.load(write_folder(tmp_path / "t", corpus(60, start=50), drawn(60)), "order")
    with pytest.raises(ValueError, match="hold the same 10 prompts"):
        summary.merge(later)
    after = dla.Summary.load(write_folder(tmp_path / "u", corpus(60, start=60), drawn(60)), "order")
    with pytest.raises(ValueError, match="hold the same 60 prompts"):
        summary.merge(after).merge(summary)


def test_a_small_overlap_of_many_rows_is_noticed():
    keys = np.random.default_rng(0).integers(0, 2**63, 200_000).astype(np.uint64)

    def tallies(keys):
        return {(): Tally.of(np.zeros((len(keys), 1)), keys, [], replace(EVERY, top_k=0, bootstrap=0))}

    found = rows_seen_twice(tallies(keys[:101_000]), tallies(keys[99_000:]))
    assert 10 <= found <= 200  # 2000 rows in common, each kept with a chance of 4 in 100
    assert rows_seen_twice(tallies(keys[:100_000]), tallies(keys[100_000:])) == 0


def test_shards_that_hold_a_row_twice_are_refused(tmp_path):
    prompts = corpus(30)
    prompts.loc[20] = prompts.loc[3]
    for number, sizes in enumerate(([], [10])):
        folder = write_folder(tmp_path / str(number), prompts, drawn(30), sizes=sizes)
        with pytest.raises(FileFormatError, match="The shards hold 1 rows or more twice"):
            dla.Summary.load(folder)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"model": {"name": "gpt2", "weights": "0"}}, "HeadDecomposer on 'a model', the other of .* on 'gpt2'; a mean"),
        ({"model": {"name": "a model", "weights": "fedcba98"}}, r"with other weights \(01234567 and fedcba98\)"),
        ({"direction": "logit of answer"}, "is of the logit of answer - .*, the other of the logit of answer; a mean"),
        ({"settings": {"prepend_bos": False}}, "not of the same .*prepend_bos was None there and is False here"),
        ({"model": {"settings": {"ln.eps": "0.1"}}}, "the model's ln.eps is nothing there and 0.1 here"),
        ({"model": {"tokenizer": "bytes"}}, "the model's tokenizer differs"),
        (
            {"model": {"numbers": [[{"numbers": [1.1, 2.0], "size": 3.0}]]}},
            "computes other numbers .1 there and 1.1 here for the token ids 1, 2.*use compare",
        ),
        ({"decomposer": "NeuronDecomposer"}, "the other of NeuronDecomposer on 'a model'"),
        ({"parts": list(parts_of(["embed", "L0H0", "L0H1", "L1H0", "1_b_O"]))}, r"their parts differ \(0_b_O, 1_b_O\)"),
        ({"parts": list(parts_of(LABELS[::-1]))}, r"their parts differ \(in another order\)"),
    ],
)
def test_summaries_of_other_things_are_refused(summary, tmp_path, manifest, message):
    folder = write_folder(tmp_path / "t", corpus(5, start=60), drawn(5), **manifest)
    with pytest.raises(ValueError, match=message):
        summary.merge(dla.Summary.load(folder, "order"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_k": 3}, "made with top_k=10, the other with 3. Use one for both"),
        ({"bootstrap": 4}, "bootstrap=0, the other with 4"),
        ({"seed": 1}, "seed=0, the other with 1"),
        ({"by": "length"}, r"by=\('order',\), the other with \('length',\)"),
    ],
)
def test_other_settings_are_refused(summary, tmp_path, settings, message):
    folder = write_folder(tmp_path / "t", corpus(5, start=60), drawn(5))
    with pytest.raises(ValueError, match=message):
        summary.merge(dla.Summary.load(folder, **{"by": "order", **settings}))


@pytest.mark.parametrize("name", ["top_k", "bootstrap"])
def test_less_than_nothing_cannot_be_kept(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name}=-1: ask for at least 0"):
        dla.Summary.load(write_folder(tmp_path / "t", corpus(5), drawn(5)), **{name: -1})
