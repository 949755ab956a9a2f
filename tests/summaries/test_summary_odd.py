"""Every argument of a summary is tried with every odd value, and with what would fill the memory."""

from collections.abc import Callable
from typing import Any

import pytest
from folders import corpus, drawn, write_folder
from odd_values import badly_answered

import dla

ASKED: dict[str, Callable[[Any, Any], Any]] = {
    "folder": lambda s, v: dla.Summary.load(v),
    "by": lambda s, v: dla.Summary.load(_folder(s), by=v),
    "a column": lambda s, v: dla.Summary.load(_folder(s), by=[v]),
    "what a group is split by": lambda s, v: dla.Summary.load(_folder(s), by={"a": v}),
    "what a function of the prompts gives": lambda s, v: dla.Summary.load(_folder(s), by={"a": lambda frame: v}),
    "top_k": lambda s, v: dla.Summary.load(_folder(s), top_k=v),
    "bootstrap": lambda s, v: dla.Summary.load(_folder(s), bootstrap=v),
    "seed": lambda s, v: dla.Summary.load(_folder(s), seed=v),
    "read": lambda s, v: dla.Summary.read(v),
    "save": lambda s, v: s.save(v),
    "group": lambda s, v: s.group(v),
    "merge": lambda s, v: s.merge(v),
    "compare": lambda s, v: s.compare(v),
    "select": lambda s, v: s.select(v),
    "what where says": lambda s, v: s.select(where=lambda part: v),
    "stability": lambda s, v: s.stability(v),
    "plot": lambda s, v: s.plot(v),
    "top": lambda s, v: s.top(v),
    "by of a ranking": lambda s, v: s.bottom(2, by=v),
    "top_prompts": lambda s, v: s.top_prompts(v),
    "k of top_prompts": lambda s, v: s.top_prompts("embed", v),
    "to_dataframe": lambda s, v: s.to_dataframe(v),
    "sums": lambda s, v: s.sums(v),
    "table": lambda s, v: s.table(v),
    "interval of a table": lambda s, v: s.table(3, v),
    "NormalInterval": lambda s, v: dla.NormalInterval(v),
    "BootstrapInterval": lambda s, v: dla.BootstrapInterval(v),
}


def _folder(summary: dla.Summary) -> str:
    return summary.about.folders[0]


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    folder = write_folder(tmp_path_factory.mktemp("odd") / "sweep", corpus(9), drawn(9))
    return dla.Summary.load(folder, by="order", bootstrap=5)


@pytest.mark.parametrize("argument", ASKED)
def test_an_odd_value_is_taken_or_told(summary, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert badly_answered(lambda value: ASKED[argument](summary, value)) == {}


@pytest.mark.parametrize("options", [{"top_k": 10**9}, {"bootstrap": 10**9}], ids=str)
def test_what_would_fill_the_memory_is_refused(summary, options):
    (name,) = options
    with pytest.raises(
        ValueError, match=rf"{name}=1000000000: for 11 numbers a row, \d+ can be kept\. Ask for fewer\."
    ):
        dla.Summary.load(_folder(summary), **options)


def test_columns_named_by_a_generator_are_not_lost(summary):
    """It could be read once only, and the split would be gone."""
    with pytest.raises(TypeError, match=r"by=<generator .*> names no columns\. Pass the name of one, several names"):
        dla.Summary.load(_folder(summary), by=(name for name in ["order"]))
