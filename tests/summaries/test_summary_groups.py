"""Splitting the prompts."""

import numpy as np
import pandas as pd
import pytest
from folders import corpus, drawn, write_folder

import dla
from dla.summaries.group_by import _TAKEN


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "s", corpus(80), drawn(80), sizes=[30, 30])


def counts(summary):
    return {group: summary.group(*group).count for group in summary.groups}


def test_several_columns_give_the_groups_that_there_are(folder):
    expected = corpus(80).groupby(["order", "length"]).size().to_dict()
    summary = dla.Summary.load(folder, ["order", "length"])
    assert counts(summary) == expected
    assert summary.groups == sorted(expected)
    assert summary.to_dataframe().columns[:3].tolist() == ["order", "length", "part"]


def test_a_function_gives_a_column(folder):
    def long(prompts):
        return prompts["length"] > 3

    summary = dla.Summary.load(folder, {"long": long, "name order": "order"})
    by_hand = corpus(80).assign(long=long).groupby(["long", "order"]).size().to_dict()
    assert counts(summary) == by_hand
    assert summary.to_dataframe()["long"].dtype == bool


def test_values_that_are_missing_are_a_group(tmp_path):
    prompts = corpus(6).assign(tag=["a", None, "b", None, "a", "a"], size=[2.5, np.nan, 10, 9, 9, 9])
    folder = write_folder(tmp_path / "s", prompts, drawn(6))
    assert counts(dla.Summary.load(folder, "tag")) == {("a",): 3, ("b",): 1, (None,): 2}
    assert str(dla.Summary.load(folder, "size").groups) == "[(2.5,), (9,), (10,), (None,)]"


def test_one_group_is_a_summary(folder):
    summary = dla.Summary.load(folder, "order", bootstrap=10)
    one = summary.group("BABA")
    frame = summary.to_dataframe(dla.BootstrapInterval())
    pd.testing.assert_frame_equal(
        one.to_dataframe(dla.BootstrapInterval()), frame[frame["order"] == "BABA"].reset_index(drop=True)
    )
    assert one.count == (corpus(80)["order"] == "BABA").sum()
    assert f"mean over {one.count} prompts with order=BABA" in str(one)


def test_a_group_that_is_not_there(folder):
    with pytest.raises(ValueError, match=r"There is no group \('ABAB',\). The groups are order=ABBA; order=BABA"):
        dla.Summary.load(folder, "order").group("ABAB")
    with pytest.raises(ValueError, match="The groups are none: pass `by` to load"):
        dla.Summary.load(folder).group("ABBA")


@pytest.mark.parametrize("by", ["orders", ["order", "orders"], {"o": "orders"}])
def test_a_column_that_is_not_there(folder, by):
    with pytest.raises(ValueError, match=r"There is no column 'orders'; the corpus has prompt, .* Close to it: order"):
        dla.Summary.load(folder, by)


def test_a_name_that_the_data_frame_has_already(tmp_path, folder):
    prompts = corpus(6).assign(mean=1)
    mean = write_folder(tmp_path / "m", prompts, drawn(6))
    with pytest.raises(ValueError, match=r"has another column 'mean'. Call it something else: by={'the mean': 'mean'}"):
        dla.Summary.load(mean, "mean")
    assert dla.Summary.load(mean, {"the mean": "mean"}).groups == [(1,)]
    with pytest.raises(ValueError, match="has another column 'order'"):
        dla.Summary.load(folder, ["order", "order"])
    summary = dla.Summary.load(folder)
    frames = summary.to_dataframe(), summary.sums(), summary.compare(summary).to_dataframe()
    assert {name for frame in frames for name in frame.columns} == _TAKEN


def test_a_function_that_does_not_fit(folder):
    with pytest.raises(ValueError, match=r"The function for 'odd' gave 1 values for 80 prompts"):
        dla.Summary.load(folder, {"odd": lambda prompts: prompts["length"][:1]})
