"""A result as text: which token has which colour, for any script, in a notebook and on a terminal."""

import re
from typing import Any

import pytest
import torch
from rich.console import Console
from subjects import GPT2

import dla
import dla.demo
from dla.testing.models import PROMPT
from dla.views.marked_text import MarkedToken, marked_html, marked_rich

HEADS = dla.HeadDecomposer()
TEXT = " Mary . John gave a ring"


def attributor() -> dla.Attributor:
    return dla.Attributor(GPT2.model(), HEADS)


def coloured(html: str) -> list[str]:
    """The tokens of which something was asked, by what the pointer shows of them."""
    return re.findall(r'title="([^"]*)"', html)


def of_text() -> dla.Attribution:
    return attributor().attribute_text(PROMPT, TEXT)


def test_the_colour_is_that_of_the_token_that_was_asked_for() -> None:
    result = of_text()
    told = coloured(result.text()._repr_html_())
    logs = result.direction("log-probability").logit[0].tolist()
    tokens = result.tokens[0][len(result.tokens[0]) - len(logs) :]
    assert tokens == [" Mary", " .", " John", " gave", " a", " ring"]
    pairs = enumerate(zip(tokens, logs, strict=True), 15)
    expected = [f"{i} {token!r}: log-probability {log:+.4f}" for i, (token, log) in pairs]
    assert told == [each.replace("'", "&#x27;") for each in expected]
    part = result.direction("logit").text("L1H2")
    values = result.direction("logit").select("L1H2").values[0, 0].tolist()
    assert coloured(part._repr_html_())[0].endswith(f"L1H2 {values[0]:+.4f}")
    assert "L1H2 in logit, token by token" in str(part)


@pytest.mark.parametrize(
    ("ask", "following"),
    [
        (lambda by: by.attribute(PROMPT, dla.NextToken(), pos=slice(0, -1)), True),
        (lambda by: by.attribute(PROMPT, dla.Continuation(" Mary .")), True),
        (lambda by: by.attribute(PROMPT, dla.Continuation(" Mary .", " John .")), True),
        (lambda by: by.attribute_text(PROMPT, TEXT), True),
        (lambda by: by.attribute_text(PROMPT, TEXT).direction("logit"), True),
        (lambda by: by.attribute([PROMPT, PROMPT], dla.Continuation([" Mary", " Mary ."])), True),
        (lambda by: by.attribute(PROMPT, dla.Logit(9), pos=None), False),
        (lambda by: by.attribute(PROMPT, dla.Logit(9)), False),
        (lambda by: by.attribute(PROMPT, dla.Logit(9), pos=slice(0, -1)), False),
        (lambda by: by.attribute(PROMPT, dla.ResidualVector(torch.ones(32)), pos=[1, 2]), False),
    ],
)
def test_whether_a_position_asks_for_the_token_that_follows(ask: Any, following: bool, tmp_path: Any) -> None:
    result = ask(attributor())
    assert result.provenance.following is following
    result.save(tmp_path / "x.nc")
    loaded = dla.load(tmp_path / "x.nc")
    assert loaded.provenance.following is following
    assert coloured(loaded.text()._repr_html_()) == coloured(result.text()._repr_html_())


def test_a_terminal_has_marks_for_who_sees_no_colours() -> None:
    result = of_text().direction("log-probability")
    values = result.logit[0]
    lines = str(result.text()).split("\n")
    assert lines[0] == "log-probability, token by token"
    assert lines[1].startswith("<s>When Mary and John")
    text = str(result.text()).partition("┏")[0]  # it may be wrapped
    assert text.count("▼") == int((values.abs() > 0.5 * values.abs().max()).sum())
    assert f"{float(values[0]):+.4f}" in str(result.text())


def test_words_without_spaces_of_their_own_are_kept_apart(tmp_path: Any) -> None:
    """The demo model's tokens are words; also where a file has no tokenizer."""
    by = dla.Attributor(dla.demo.load_small("raw"), HEADS)
    result = by.attribute_text("When Mary and John went to the", " store .")
    result.save(tmp_path / "x.nc")
    for each in (result, dla.load(tmp_path / "x.nc")):
        assert "When Mary and John went to the" in str(each.text()).split("\n")[1]


def test_long_prompts_show_what_is_near_the_question() -> None:
    tokens = torch.randint(4, 100, (1, 15)).repeat(1, 2)
    result = attributor().attribute(tokens, dla.Logit(9))
    assert "tokens before" not in str(result.text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dla.results.coloured_text._BEFORE", 5)
        assert str(result.text()).split("\n")[1].startswith("(24 tokens before) … ")


def test_a_text_that_cannot_be_shown() -> None:
    model = GPT2.model()
    _, cache = model.run_with_cache(torch.tensor([[5, 6, 7]]))
    with pytest.raises(ValueError, match="The prompts' tokens are not known, so there is no text"):
        attributor().attribute(None, dla.Logit(9), cache=cache).text()
    with pytest.raises(ValueError, match="The result is a sum over positions"):
        attributor().attribute(PROMPT, dla.Continuation(" Mary .")).sum_positions().text()
    with pytest.raises(ValueError, match="There is no part 'L9H9'"):
        of_text().text("L9H9")


def test_scripts_special_tokens_and_what_would_be_markup() -> None:
    right = [MarkedToken("<s>"), MarkedToken("ירו", -1.0), MarkedToken("שלים", -0.25), MarkedToken(" a")]
    html = marked_html("t", [right])
    assert '<div dir="rtl"' in html
    assert html.index("ירו") < html.index("שלים")
    assert "font-family:monospace" in html.split("&lt;s&gt;")[0]
    assert "rgba(213,94,0,0.600)" in html
    assert "rgba(213,94,0,0.150)" in html
    left = marked_html(
        "[b]", [[MarkedToken("<b>x\n\n"), MarkedToken("\x1b[31m", 2.0), MarkedToken(" y", float("nan"))]]
    )
    assert '<div dir="ltr"' in left
    assert "&lt;b&gt;x↵\n↵\n" in left
    assert "\x1b" not in left
    console = Console(width=60, no_color=True)
    with console.capture() as capture:
        console.print(marked_rich("[b]", [[MarkedToken("[red]x\n", 1.0), MarkedToken("\x1b[31m", -0.2)]]))
    assert capture.get().split("\n")[:3] == ["[b]", "[red]x↵", "▲\\x1b[31m"]


def test_the_plot_draws_the_same_tokens() -> None:
    pytest.importorskip("plotly")
    figure = of_text().direction("logit").plot.tokens()
    (cells,) = figure.data
    told = [text for row in cells.hovertext for text in row if text]
    assert [each.split("'")[1] for each in told] == [" Mary", " .", " John", " gave", " a", " ring"]
    assert told[0].startswith("15 ")
