"""Two sweeps, prompt by prompt."""

import numpy as np
import pandas as pd
import pytest
from folders import LABELS, TOLERANCE, corpus, drawn, sums_of, write_folder

import dla
from dla.errors import FileFormatError
from dla.summaries import row_batches, row_pairs


def changed(values, seed=3):
    """Values that go with the others, and differ by a little."""
    return values + np.float32(0.3) + drawn(len(values), seed=seed) / 5


@pytest.fixture
def both(tmp_path):
    values = drawn(120)
    first = write_folder(tmp_path / "a", corpus(120), values, sizes=[50, 50])
    order = np.random.default_rng(0).permutation(120)
    second = write_folder(tmp_path / "b", corpus(120), changed(values), sizes=[10, 90], order=order)
    return first, second


def test_the_difference_is_that_of_the_pairs(both):
    first, second = (dla.Summary.load(folder, "order", bootstrap=50) for folder in both)
    values, others = drawn(120).astype(np.float64), changed(drawn(120)).astype(np.float64)
    comparison = first.compare(second)
    assert (comparison.pairs, comparison.unpaired) == (120, (0, 0))
    for order, rows in corpus(120).groupby("order").groups.items():
        frame = comparison.to_dataframe()
        frame = frame[frame["order"] == order].set_index("part").loc[list(LABELS)]
        differences = values[rows] - others[rows]
        np.testing.assert_allclose(frame["mean"], differences.mean(0), rtol=1e-12)
        np.testing.assert_allclose(frame["variance"], differences.var(0, ddof=1), rtol=1e-12)
        np.testing.assert_allclose(frame["first"], values[rows].mean(0), rtol=1e-12)
        np.testing.assert_allclose(frame["second"], others[rows].mean(0), rtol=1e-12)
        assert (frame["count"] == len(rows)).all()
    bootstrap = comparison.to_dataframe(dla.BootstrapInterval())
    assert ((bootstrap["low"] < bootstrap["mean"]) & (bootstrap["mean"] < bootstrap["high"])).all()


def test_the_groups_are_those_of_the_first(tmp_path, both):
    other = write_folder(tmp_path / "c", corpus(120).assign(order="ABBA"), changed(drawn(120)))
    expected, found = (
        dla.Summary.load(both[0], "order").compare(dla.Summary.load(second)).to_dataframe()
        for second in (both[1], other)
    )
    pd.testing.assert_frame_equal(found, expected, rtol=1e-12)


def test_swapping_turns_the_signs(both):
    first, second = (dla.Summary.load(folder) for folder in both)
    one, other = first.compare(second).to_dataframe(), second.compare(first).to_dataframe()
    np.testing.assert_allclose(one["mean"], -other["mean"], rtol=1e-12)
    np.testing.assert_allclose(one["low"], -other["high"], rtol=1e-12)


def test_pairs_are_surer_than_two_means(both):
    first, second = (dla.Summary.load(folder) for folder in both)
    paired = first.compare(second).to_dataframe()["standard_error"]
    apart = np.hypot(first.to_dataframe()["standard_error"], second.to_dataframe()["standard_error"])
    assert (paired < 0.5 * apart).all()


def test_the_sums_differ_as_the_prompts_do(both):
    first, second = (dla.Summary.load(folder) for folder in both)
    told = first.compare(second).sums().set_index("sum")
    one, other = sums_of(drawn(120)), sums_of(changed(drawn(120)))
    assert told.loc["logit", "mean"] == pytest.approx((one["logit"] - other["logit"]).mean(), rel=1e-12)
    gaps = np.abs(one["gap"] - other["gap"])
    assert told.loc["misfit", "max"] == pytest.approx(gaps.max() / (2 * TOLERANCE), rel=1e-12)


def test_only_prompts_that_both_have_are_paired(tmp_path):
    values = drawn(60)
    first = write_folder(tmp_path / "a", corpus(40), values[:40], sizes=[15])
    prompts = corpus(60)[25:].reset_index(drop=True)
    prompts.loc[3, "prompt"] = "another text in the same row"
    second = write_folder(tmp_path / "b", prompts, values[25:] + 1, sizes=[5])
    comparison = dla.Summary.load(first).compare(dla.Summary.load(second))
    assert comparison.pairs == 14
    assert comparison.unpaired == (26, 21)
    assert "14 pairs; 26 and 21 prompts have no partner" in str(comparison)
    np.testing.assert_allclose(comparison.to_dataframe()["mean"], -1, rtol=1e-6)


def test_shards_without_rows_do_no_harm(tmp_path, monkeypatch):
    monkeypatch.setattr(row_batches, "_VALUES", 0)
    first = write_folder(tmp_path / "a", corpus(20), drawn(20), sizes=[0, 10, 0])
    second = write_folder(tmp_path / "b", corpus(20), drawn(20), sizes=[15, 0, 5, 0])
    assert dla.Summary.load(first).compare(dla.Summary.load(second, "order")).pairs == 20


def only(column, value):
    """Another value in the last row alone."""
    return lambda prompts: prompts.assign(**{column: [*prompts[column][:-1], value]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (only("incorrect", " Ann"), "Row 19 asks for ' .*' - ' Tom' at position -1 in .*, and for ' .*' - ' Ann' at"),
        (only("answer", " Ann"), "Row 19 asks for ' .*' - ' Tom' .*, and for ' Ann' - ' Tom'"),
        (lambda prompts: prompts.assign(answer=7), "Row 0 asks for .*, and for 7 - ' Tom'"),
        (
            lambda prompts: prompts.drop(columns="incorrect"),
            "for the logit of answer - logit of incorrect, and the one",
        ),
        (lambda prompts: prompts.assign(incorrect=prompts["answer"], answer=" Tom"), "Row 0 asks for"),
    ],
    ids=["another token", "another answer", "an id", "logits", "turned round"],
)
def test_another_question_about_the_same_prompts_is_refused(tmp_path, change, message):
    first = dla.Summary.load(write_folder(tmp_path / "a", corpus(20), drawn(20), sizes=[15]))
    second = dla.Summary.load(write_folder(tmp_path / "b", change(corpus(20)), drawn(20, seed=1)))
    with pytest.raises(ValueError, match=message):
        first.compare(second)
    with pytest.raises(ValueError, match="Differences are taken between sweeps that ask the same of each prompt"):
        second.compare(first)


def test_ids_are_other_tokens_to_another_tokenizer(tmp_path):
    ids = corpus(20).assign(answer=5, incorrect=[7.0] * 20)
    first = dla.Summary.load(write_folder(tmp_path / "a", ids, drawn(20)))
    same = write_folder(tmp_path / "b", ids.assign(incorrect=7), drawn(20), model={"weights": "1"})
    assert first.compare(dla.Summary.load(same)).pairs == 20
    other = write_folder(tmp_path / "c", ids, drawn(20), model={"weights": "1", "tokenizer": "bytes"})
    with pytest.raises(ValueError, match="Row 0 gives its tokens as ids .5 - 7 at position -1., and the two models'"):
        first.compare(dla.Summary.load(other))
    texts = [
        dla.Summary.load(write_folder(tmp_path / name, corpus(20), drawn(20), model=model))
        for name, model in (
            ("d", {}),
            ("e", {"weights": "1", "tokenizer": "bytes"}),
        )
    ]
    assert texts[0].compare(texts[1]).pairs == 20


def test_no_prompt_in_common_is_refused(tmp_path):
    first = write_folder(tmp_path / "a", corpus(20), drawn(20))
    for second in (corpus(20, seed=1), corpus(20, start=20)):
        other = dla.Summary.load(write_folder(tmp_path / f"b{second['row'][0]}", second, drawn(20)))
        with pytest.raises(ValueError, match="have no prompt in common: none has the same text in the same row"):
            dla.Summary.load(first).compare(other)


def test_parts_that_both_have_are_compared_by_name(tmp_path):
    values = drawn(30)
    first = write_folder(tmp_path / "a", corpus(30), values)
    labels = ("L1H0", "L5H5", "embed")
    second = write_folder(tmp_path / "b", corpus(30), values[:, [3, 1, 0]] - 1, labels=labels)
    comparison = dla.Summary.load(first).compare(dla.Summary.load(second))
    assert comparison.labels == ["embed", "L1H0"]
    np.testing.assert_allclose(comparison.to_dataframe()["mean"], 1, rtol=1e-6)
    none = write_folder(tmp_path / "c", corpus(30), values[:, :1], labels=("L9H9",), decomposer="Other")
    with pytest.raises(
        ValueError,
        match=r"HeadDecomposer on 'a model' and Other on 'a model' have no part in common \(embed, .* and L9H9",
    ):
        dla.Summary.load(first).compare(dla.Summary.load(none))


def test_selected_parts_are_compared(both):
    first, second = (dla.Summary.load(folder) for folder in both)
    whole = first.compare(second).to_dataframe()
    heads = first.select(kind="head").compare(second).to_dataframe()
    pd.testing.assert_frame_equal(heads, whole[whole["kind"] == "head"].reset_index(drop=True))


def test_a_merged_summary_is_compared(tmp_path, both):
    values = drawn(120)
    pieces = [
        dla.Summary.load(
            write_folder(tmp_path / str(i), corpus(60, start=60 * i), changed(values)[60 * i : 60 * (i + 1)])
        )
        for i in (0, 1)
    ]
    first, second = (dla.Summary.load(folder) for folder in both)
    found = first.compare(pieces[1].merge(pieces[0])).to_dataframe()
    expected = first.compare(second).to_dataframe()
    pd.testing.assert_frame_equal(found, expected, rtol=1e-12)


def test_the_prompts_that_differ_most(both):
    first, second = (dla.Summary.load(folder) for folder in both)
    comparison = first.compare(second)
    differences = drawn(120).astype(np.float64)[:, 1] - changed(drawn(120)).astype(np.float64)[:, 1]
    assert comparison.top_prompts("L0H0", 1)[0].row == int(differences.argmax())
    assert comparison.bottom_prompts("L0H0", 1)[0].row == int(differences.argmin())
    means = comparison.to_dataframe().set_index("part")["mean"]
    assert comparison.top(1)[0][0] == means.idxmax()
    assert comparison.bottom(1)[0][0] == means.idxmin()
    assert comparison.top(1, by="abs")[0][0] == means.abs().idxmax()


def test_rows_in_the_same_order_do_not_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(row_batches, "_VALUES", 1)
    values, sizes = drawn(200), [20] * 9
    first = write_folder(tmp_path / "a", corpus(200), values, sizes=sizes)
    second = write_folder(tmp_path / "b", corpus(200), changed(values), sizes=sizes[:5])
    waited, receive = [], row_pairs.RowPairing._receive

    def watched(self, side, rows):
        receive(self, side, rows)
        waited.append(sum(self.waiting))

    monkeypatch.setattr(row_pairs.RowPairing, "_receive", watched)
    assert dla.Summary.load(first).compare(dla.Summary.load(second)).pairs == 200
    assert max(waited) <= 120, "the second's last shard has 100 rows"


def test_a_folder_that_is_gone(tmp_path, both):
    first, second = (dla.Summary.load(folder) for folder in both)
    both[1].rename(tmp_path / "moved")
    with pytest.raises(FileFormatError, match="is not a sweep's folder"):
        first.compare(second)
