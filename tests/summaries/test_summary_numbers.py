"""What a summary says, beside formulas over the whole data."""

import re
import time
from inspect import unwrap

import numpy as np
import pandas as pd
import pytest
from folders import LABELS, TOLERANCE, corpus, drawn, sums_of, write_folder
from hypothesis import given
from hypothesis import strategies as st

import dla
from dla.errors import FileFormatError
from dla.summaries import row_batches
from dla.summaries.moments import Moments

COLUMNS = ("count", "mean", "variance", "standard_error", "min", "max", "positive")


def expected(values, groups):
    """The same numbers by pandas, over all rows at once."""
    long = pd.DataFrame(values.astype(np.float64), columns=LABELS).assign(group=groups).melt("group", var_name="part")
    by = long.groupby(["group", "part"])["value"]
    table = by.agg(["count", "mean", "var", "sem", "min", "max"])
    table["positive"] = by.agg(lambda column: (column > 0).mean())
    return table.rename(columns={"var": "variance", "sem": "standard_error"})


def assert_numbers(frame, table, name):
    found = frame.set_index([name, "part"])[list(COLUMNS)].sort_index()
    pd.testing.assert_frame_equal(
        found, table.sort_index()[list(COLUMNS)], check_names=False, check_index_type=False, rtol=1e-12, atol=1e-13
    )


@given(
    n=st.integers(2, 60),
    cuts=st.lists(st.integers(0, 60), max_size=4).map(sorted),
    seed=st.integers(0, 9),
    by=st.sampled_from(["order", "length"]),
)
def test_the_numbers_are_those_of_all_rows_at_once(n, cuts, seed, by, tmp_path_factory):
    prompts, values = corpus(n, seed), drawn(n, seed=seed)
    sizes = np.diff([0, *(min(cut, n) for cut in cuts)])
    folder = write_folder(tmp_path_factory.mktemp("sweep"), prompts, values, sizes=sizes)
    assert_numbers(dla.Summary.load(folder, by).to_dataframe(), expected(values, prompts[by]), by)
    whole = dla.Summary.load(folder).to_dataframe().assign(all="all")
    assert_numbers(whole, expected(values, np.full(n, "all")), "all")
    assert_numbers(
        dla.Summary.load(folder, by).overall().to_dataframe().assign(all="all"),
        expected(values, np.full(n, "all")),
        "all",
    )


def test_the_sums_are_those_of_the_prompts(tmp_path):
    values = drawn(50)
    summary = dla.Summary.load(write_folder(tmp_path / "s", corpus(50), values, sizes=[20]))
    sums, told = sums_of(values), summary.sums().set_index("sum")
    for name in ("total", "constant", "logit", "output_logit", "gap"):
        assert told.loc[name, "mean"] == pytest.approx(sums[name].mean(), rel=1e-12)
        assert told.loc[name, "min"] == sums[name].min()
    assert told.loc["misfit", "max"] == pytest.approx(np.abs(sums["gap"]).max() / TOLERANCE, rel=1e-12)


def test_what_a_part_is_stands_beside_it(tmp_path):
    frame = dla.Summary.load(write_folder(tmp_path / "s", corpus(5), drawn(5))).to_dataframe().set_index("part")
    assert frame.loc["L0H1", ["kind", "layer", "index", "head"]].tolist() == ["head", 0, 1, 1]
    assert frame.loc["embed", ["kind", "layer", "index", "head"]].tolist() == ["embed", -1, -1, -1]


def test_the_variance_of_large_values_is_not_lost():
    values = 1e6 + np.random.default_rng(0).normal(0, 0.1, (5000, 3))
    merged = Moments.of(values[:0])
    for piece in np.array_split(values, 50):
        merged = merged.merge(Moments.of(piece))
    np.testing.assert_allclose(merged.variance, values.var(0, ddof=1), rtol=1e-7)


@given(n=st.integers(0, 40), sets=st.integers(1, 30), seed=st.integers(0, 99))
def test_many_sets_at_once_are_each_by_itself(n, sets, seed):
    rng = np.random.default_rng(seed)
    values, dealt = rng.normal(size=(n, 3)), rng.integers(0, sets, n)
    each = [Moments.of(values[dealt == i]) for i in range(sets)]
    for found, expected in zip(Moments.of_each(values, dealt, sets), each, strict=True):
        assert found.count == expected.count
        for name in ("mean", "squares", "low", "high", "positive"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12, atol=1e-14)
    together, whole = Moments.together(each), Moments.of(values)
    assert together.count == n
    for name in ("mean", "squares", "low", "high", "positive"):
        np.testing.assert_allclose(getattr(together, name), getattr(whole, name), rtol=1e-12, atol=1e-13)


def test_ten_thousand_groups_take_a_moment(tmp_path):
    prompts = corpus(10_000).assign(name=[f"n{i}" for i in range(10_000)])
    folder = write_folder(tmp_path / "s", prompts, drawn(10_000), sizes=[500] * 19)
    begin = time.process_time()
    summary = dla.Summary.load(folder, "name")
    assert "9980 more are in to_dataframe()" in str(summary)
    assert len(summary.to_dataframe()) == 50_000
    assert time.process_time() - begin < 10  # one by one they take 30 s
    kept = sum(array.nbytes for tally in summary.tallies.values() for array in (tally.extremes.values, tally.sample))
    assert kept < 10_000 * 400


def test_top_and_bottom_rank_by_the_mean(tmp_path):
    values = np.array([[1, -3, 2, 0, -1]], np.float32).repeat(4, 0)
    summary = dla.Summary.load(write_folder(tmp_path / "s", corpus(4), values), "order")
    assert summary.top(2) == [("L0H1", 2.0), ("embed", 1.0)]
    assert summary.bottom(2) == [("L0H0", -3.0), ("0_b_O", -1.0)]
    assert summary.top(1, by="abs") == [("L0H0", -3.0)]
    assert summary.bottom(1, by="abs") == [("L1H0", 0.0)]


def test_one_prompt_has_a_mean_and_no_interval(tmp_path):
    summary = dla.Summary.load(write_folder(tmp_path / "s", corpus(1), drawn(1)), bootstrap=5)
    for interval in (dla.NormalInterval(), dla.BootstrapInterval()):
        frame = summary.to_dataframe(interval)
        np.testing.assert_array_equal(frame["mean"], drawn(1)[0].astype(np.float64))
        assert frame[["low", "high", "variance"]].isna().all(axis=None)


def test_no_prompt_has_nothing(tmp_path):
    summary = dla.Summary.load(write_folder(tmp_path / "s", corpus(0), drawn(0), complete=False), bootstrap=5)
    assert (summary.count, summary.groups) == (0, [])
    assert summary.to_dataframe()[["mean", "low", "min", "positive"]].isna().all(axis=None)
    assert summary.top_prompts("embed", 3) == []
    assert len(dla.Summary.load(tmp_path / "s", "order").to_dataframe()) == 0


@pytest.mark.parametrize("by", [None, "order"])
@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"counts": {"rejected": 7}}, "No prompt was kept in the sweep in .*: all 7 rows were rejected"),
        ({}, "The corpus of the sweep in .* has no rows. Sweep one that has some"),
        ({"complete": False}, "is not complete, and has no prompt yet. The same call of sweep resumes it"),
    ],
    ids=["rejected", "no rows", "not complete"],
)
def test_nothing_is_not_ranked(tmp_path, by, manifest, message):
    summary = dla.Summary.load(write_folder(tmp_path / "s", corpus(0), drawn(0), **manifest), by)
    some = dla.Summary.load(write_folder(tmp_path / "t", corpus(9), drawn(9)))
    for ask in (
        summary.top,
        lambda: summary.bottom(2, by="abs"),
        summary.stability,
        lambda: summary.plot(),
        lambda: summary.plot.svg(),
        lambda: summary.compare(some),
        lambda: some.compare(summary),
    ):
        with pytest.raises(ValueError, match=message):
            ask()
    printed = " ".join(str(summary).split())
    assert "HeadDecomposer on a model: no prompt was kept" in printed
    assert "+0.0000" not in printed
    assert re.search(message, re.sub(r"/ ", "/", printed)) or "No prompt" in printed or "no " in printed
    assert "no prompt was kept" in summary._repr_html_()


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda s: s.top(0), ValueError, "k=0: ask for at least one part"),
        (lambda s: s.bottom(-1), ValueError, "k=-1: ask for at least one part"),
        (lambda s: s.top(True), TypeError, "k=True is not a whole number. Pass how many"),
        (lambda s: s.top(2.0), TypeError, "k=2.0 is not a whole number. Pass how many"),
        (lambda s: s.top(by="size"), ValueError, "by='size'; pass 'value' or 'abs'"),
        (lambda s: s.top_prompts("embed", -1), ValueError, "k=-1: ask for at least one prompt"),
        (
            lambda s: unwrap(dla.Summary.compare)(s, "folder"),
            TypeError,
            "'folder' is no Summary, but of type str. Pass Summary.load",
        ),
        (lambda s: unwrap(dla.Summary.merge)(s, 3), TypeError, "3 is no Summary, but of type int"),
        (lambda s: unwrap(dla.open_sweep)(5), TypeError, "The path of a sweep's folder is 5. Pass it as"),
        (lambda s: dla.Summary.load("x", top_k=True), TypeError, "top_k=True is not a whole number. Pass how many"),
        (lambda s: dla.Summary.load("x", seed=True), TypeError, "seed=True is not a whole number. Pass one, such as 0"),
    ],
)
def test_what_cannot_be_asked_of_a_summary(tmp_path, ask, error, message):
    summary = dla.Summary.load(write_folder(tmp_path / "s", corpus(9), drawn(9)))
    with pytest.raises(error, match=message):
        ask(summary)


def test_a_number_that_is_none_is_named(tmp_path):
    values = drawn(9)
    values[4, 2] = np.nan
    folder = write_folder(tmp_path / "s", corpus(9), values)
    with pytest.raises(FileFormatError, match=r"Row 4 of '.*' holds nan for 'L0H1', and a mean needs numbers"):
        dla.Summary.load(folder)


def test_a_folder_that_is_no_sweeps_is_refused(tmp_path):
    with pytest.raises(FileFormatError, match="is not a sweep's folder"):
        dla.Summary.load(tmp_path)


def test_the_parts_can_be_selected(tmp_path):
    summary = dla.Summary.load(write_folder(tmp_path / "s", corpus(30), drawn(30)), "order", bootstrap=20)
    heads = summary.select(kind="head", layer=0)
    assert heads.labels == ["L0H0", "L0H1"]
    for interval in (dla.NormalInterval(), dla.BootstrapInterval()):
        whole = summary.to_dataframe(interval)
        chosen = whole[whole["part"].isin(heads.labels)].reset_index(drop=True)
        pd.testing.assert_frame_equal(heads.to_dataframe(interval), chosen)
        pd.testing.assert_frame_equal(heads.sums(interval), summary.sums(interval))
    assert heads.top_prompts("L0H1", 3) == summary.top_prompts("L0H1", 3)
    assert heads.top_prompts("logit", 3) == summary.top_prompts("logit", 3)
    assert summary.select(["L1H0", "embed"]).labels == ["embed", "L1H0"]
    assert summary.select(where=lambda part: part.head == 0).labels == ["L0H0", "L1H0"]
    with pytest.raises(ValueError, match=r"No part matches kind='neuron'; the kinds here are 0_b_O, embed"):
        summary.select(kind="neuron")
    with pytest.raises(ValueError, match=r"There is no part 'L0H2'; the parts are embed, .* Close to it: L0H1"):
        summary.select("L0H2")


def test_what_is_kept_does_not_grow_with_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(row_batches, "_VALUES", 5000)
    sizes, held = [], []
    plain = row_batches.joined
    monkeypatch.setattr(row_batches, "joined", lambda pieces: held.append(len(plain(pieces).prompts)) or plain(pieces))
    for n in (9000, 18000):
        folder = write_folder(tmp_path / str(n), corpus(n), drawn(n), sizes=[200] * (n // 200 - 1))
        summary = dla.Summary.load(folder, "order", bootstrap=10)
        arrays = [
            array
            for tally in summary.tallies.values()
            for array in (
                tally.replicates.sums,
                tally.extremes.values,
                tally.sample,
                *(h.mean for h in tally.halves),
            )
        ]
        sizes.append((sum(array.nbytes for array in arrays), len(summary.tallies)))
        assert all(len(t.extremes.texts) <= 2 * 10 * (len(LABELS) + 6) for t in summary.tallies.values())
    assert sizes[0] == sizes[1]
    assert max(held) <= 600, "some rows are held, but not all"
