"""Text that models, corpora and users bring is shown as text: never markup, a command to the terminal, or HTML."""

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from subjects import GPT2, some_tokens

import dla
from dla.views.grid import Grid, Line, printed
from dla.views.text import as_text

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
