"""Odd results and hostile texts in every view: the terminal, a notebook, plots, SVG, the page, JSON and files."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from page_samples import HOSTILE
from subjects import GPT2, some_tokens

import dla
from dla.testing.models import PROMPT
from dla.views.sealed import sealed_json

DIFFERENCE = dla.LogitDifference(" Mary", " John")


def attribution(prompts: object = PROMPT, decomposer: dla.Decomposer | None = None, **options: Any) -> dla.Attribution:
    return dla.Attributor(GPT2.model(), decomposer or dla.HeadDecomposer()).attribute(prompts, DIFFERENCE, **options)


def with_holes() -> dla.Attribution:
    result = attribution()
    return replace(
        result, values=result.values.masked_fill(torch.arange(len(result.parts))[:, None] % 3 == 0, torch.nan)
    )


def of_many_rows() -> dla.Attribution:
    parts = tuple(dla.Label("neuron", i // 5000, i % 5000) for i in range(20_000))
    return replace(attribution(), parts=parts, values=torch.randn(20_000, 1), rerun=None)


ODD: dict[str, Callable[[], dla.Attribution]] = {
    "NaN": with_holes,
    "all NaN": lambda: replace(attribution(), values=torch.full_like(attribution().values, torch.nan)),
    "one row": lambda: attribution().select("embed"),
    "one head": lambda: attribution().select("L0H0"),
    "no heads": lambda: attribution(decomposer=dla.BlockDecomposer()),
    "one token": lambda: attribution(some_tokens(3, 1, 1)),
    "one token, all positions": lambda: attribution(some_tokens(3, 1, 1), pos=None),
    "20,000 rows": of_many_rows,
    "zero": lambda: replace(attribution(), values=torch.zeros_like(attribution().values)),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_result_is_shown_everywhere(name: str, tmp_path: Path) -> None:
    result = ODD[name]()
    assert len(str(result).splitlines()) < 80
    assert len(result._repr_html_()) < 100_000
    for plot in (result.plot, result.plot.waterfall, result.plot.ranked, result.plot.positions, result.plot.tokens):
        figure = plot()
        assert figure.to_dict()["data"]
        assert len(figure.to_json()) < 200_000
    ElementTree.fromstring(result.plot.svg())
    result.report(tmp_path / "a.html")
    assert len(json.loads(result.to_json(top=3))["directions"][0]["rows"]) == min(3, len(result.parts))
    result.save(tmp_path / "a.nc")
    assert dla.load(tmp_path / "a.nc").labels == result.labels


def texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts_of(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts_of(each)


def hostile(text: str) -> dla.Attribution:
    """A result whose tokens, labels and direction are such a text."""
    result = attribution(pos=None)
    tokens = tuple(tuple(text for _ in prompt) for prompt in result.tokens)
    parts = tuple(replace(part, text=f"{text}{i}") if i else part for i, part in enumerate(result.parts))
    provenance = replace(result.provenance, tokens=tokens, direction=text, decomposer=text, model=text)
    return replace(result, parts=parts, provenance=provenance)


def is_inert(text: str) -> bool:
    return not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text) and not set(text) & set(
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )


@pytest.mark.parametrize("text", [*HOSTILE, "=1+1", "@x"], ids=ascii)
def test_a_hostile_text_does_nothing_in_any_view(text: str, tmp_path: Path) -> None:
    result = hostile(text)
    plot = result.plot
    for figure in (plot(), plot.tokens(), plot.ranked(), plot.waterfall(), plot.heads(), plot.compare(result)):
        data = figure.to_dict()
        data["layout"].pop("template")
        for shown in texts_of(data):
            assert is_inert(shown)
            assert not re.search(r"<(?!/?sub>|br>|extra>)", shown)
            assert "$" not in shown
    svg = plot.svg()
    ElementTree.fromstring(svg)
    html, page = result._repr_html_(), tmp_path / "a.html"
    result.report(page)
    for shown in (svg, html, page.read_text(encoding="utf-8"), result.to_json(), str(result)):
        assert is_inert(shown.replace("\n", ""))
        shown.encode("utf-8")
    for shown in (svg, html):
        assert not re.search(r"<(script|img|b)\b|<!--", shown)


def test_a_file_that_cannot_be_written_names_what_was_passed(tmp_path: Path) -> None:
    result = attribution("When Mary")
    graph = dla.graph(result)
    (tmp_path / "folder.html").mkdir()
    for write in (result.save, result.report, graph.save, graph.to_circuit_tracer):
        for path, error in ((tmp_path, IsADirectoryError), (tmp_path / "no" / "a", FileNotFoundError)):
            with pytest.raises(error, match=re.escape(str(path))):
                write(path)
        with pytest.raises(OSError, match="/proc/a'"):
            write("/proc/a")
    with pytest.raises(IsADirectoryError, match=r"folder.html' is a folder"):
        result.report(tmp_path / "folder.html")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.html"]


@pytest.mark.parametrize("ending", [".csv", ".json", ".html", ".parquet"])
def test_the_ending_of_another_format_names_what_writes_it(ending: str, tmp_path: Path) -> None:
    result = attribution("When Mary")
    for one in (result, dla.compare(result, result)):
        with pytest.raises(
            ValueError, match=f"a\\{ending}' has the ending of another format, and what is written is netC"
        ):
            one.save(tmp_path / f"a{ending}")
    if ending != ".json":
        with pytest.raises(ValueError, match=r"what is written is JSON. Name it 'a.json'"):
            dla.graph(result).save(tmp_path / f"a{ending}")
    assert not [*tmp_path.iterdir()]


def test_a_graph_of_a_newer_version_is_refused_politely(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(sealed_json('{"format": "dla.graph/99", "more": 1}'))
    with pytest.raises(dla.FileFormatError, match="The file was written by a newer version"):
        dla.load_graph(tmp_path / "a.json")
