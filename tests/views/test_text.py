"""Text that models, corpora and users bring is shown as text: never markup, a command to the terminal, or HTML."""

import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from subjects import GPT2, some_tokens

import dla
from dla.testing.report import CheckResult, Report
from dla.text import as_text
from dla.views.grid import Grid, Line, printed
from dla.views.plots.head_map import heat_map
from dla.views.plots.interval_bars import interval_bars
from dla.views.text import as_cell, as_label, as_printed

HOSTILE = ["[/INST]", "[bold red]", "[link=https://x.y]z[/link]", "\x1b[31m", "\x1b]8;;https://x.y\x07", "a\u202eb"]
HOSTILE += ["\ud800", "\x9b31m", "a\nb", "\x00", "<script>alert(1)</script>", "'\"&amp;"]


@given(st.text())
@example("\x1b[2J")
@example("\ud800\u2028")
def test_nothing_that_steers_is_left(text: str) -> None:
    shown = as_text(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
    shown.encode("utf-8")


@given(st.text(st.characters(categories=["L", "N", "P", "S", "M"])))
def test_what_can_be_seen_is_as_it_was(text: str) -> None:
    assert as_text(text) == text


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_table_shows_each_text_as_it_is(text: str) -> None:
    grid = Grid(text, (text,), ((Line(text, (text,), 1.0),),), note=text, rows=text)
    shown, html = printed(grid.rich()).replace("\n", ""), grid.html()
    assert shown.count(as_text(text)) == 6
    assert "\x1b" not in shown + html
    assert "<script" not in html


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_result_prints_whatever_its_rows_and_directions_are_called(name: str) -> None:
    attributor = dla.Attributor(GPT2.model(), dla.ComponentDecomposer())
    result = attributor.attribute(some_tokens(1), {name: dla.Logit(5), "b": dla.Logit(6)})
    grouped = replace(result.group_by(lambda label: replace(label, text=name) if label.kind == "embed" else label))
    for shown in (result, grouped, result.direction(name)):
        assert "\x1b" not in str(shown) + repr(shown)
        assert "<script" not in shown._repr_html_()
        str(shown).encode("utf-8")
    assert as_text(name) in str(result)
    part = result.direction("b").part("embed")
    assert "<script" not in replace(part, label=dla.Label("embed", text=name))._repr_html_()


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_report_shows_each_text_as_it_is(text: str) -> None:
    shown = str(Report(text, (CheckResult(text, text), CheckResult(text, text, f"{text}\nand more"))))
    assert shown.count(as_text(text)) >= 4
    assert "\x1b" not in shown
    shown.encode("utf-8")


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_figure_shows_each_text_as_it_is(text: str) -> None:
    ends = np.zeros((2, 2))
    of_bars = interval_bars(text, [text, "2024-01-01"], [(text, np.ones(2), ends), ("b", np.ones(2), ends)], 40)
    assert of_bars.layout.title.text == of_bars.data[0].name == of_bars.data[0].x[0] == as_label(text)
    assert of_bars.layout.xaxis.type == "category"
    of_map = heat_map(text, np.ones((1, 1)), [[text]])
    assert of_map.layout.title.text == of_map.data[0].hovertext[0][0] == as_label(text)
    assert not set(as_label(text)) & set("<>\x1b\u202e$")


def test_neither_emoji_nor_tex_is_read_in_a_text() -> None:
    assert printed(as_printed(":smile: [b]\x1b[1m")).strip() == r":smile: [b]\x1b[1m"
    assert as_label("$x$ <b>&amp;") == "&#36;x&#36; &lt;b&gt;&amp;amp;"


@pytest.mark.parametrize("cell", ["=1+1", "+1+1", "-1+1", "@x", "\t=1", "\r=1", "＝1"])
def test_a_formula_is_no_cell(cell: str) -> None:
    assert as_cell(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["L1H1", "", "-0.5", "+inf", -0.5, None, " =1"])
def test_what_no_spreadsheet_computes_stays(cell: object) -> None:
    assert as_cell(cell) == cell


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_file_holds_whatever_rows_and_directions_are_called(name: str, tmp_path: Path) -> None:
    attributor = dla.Attributor(GPT2.model(), dla.ComponentDecomposer())
    result = attributor.attribute(some_tokens(1), {name: dla.Logit(5), "b": dla.Logit(6)})
    result.group_by({name: "embed"}).save(tmp_path / "a.nc")
    loaded = dla.load(tmp_path / "a.nc")
    assert loaded.directions == result.directions
    assert as_text(loaded.labels[0]) == as_text(name)
    assert len(result.to_dataframe()) == result.values.numel()
    repr_of_part = repr(result.direction("b").group_by({name: "embed"}).part(name))
    assert repr_of_part == f"Part({as_text(name)}, logits {repr_of_part.rpartition('logits ')[2]}"
