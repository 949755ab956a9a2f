"""The result: ranking, selection, tables, frames, datasets."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mutants.altered import AlteredDecomposer, without
from rich.console import Console
from subjects import GPT2, some_tokens

import dla
from dla.testing import TinyModel
from dla.testing.models import PROMPT


def attribution(
    prompts: object = PROMPT, pos: object = -1, decomposer: dla.Decomposer | None = None
) -> dla.Attribution:
    attributor = dla.Attributor(GPT2.model(), decomposer or dla.HeadDecomposer())
    return attributor.attribute(prompts, dla.LogitDifference(" Mary", " John"), pos=pos)


UNEQUAL = [PROMPT, "When Mary went"]
CASES = {"one": (PROMPT, -1), "batch": (UNEQUAL, -1), "positions": (UNEQUAL, None), "some": (UNEQUAL, [0, -1])}
each_case = pytest.mark.parametrize("case", CASES)


@each_case
def test_top_and_bottom_are_the_ends_of_the_mean(case: str) -> None:
    result = attribution(*CASES[case])
    means = result.values.flatten(1).nanmean(-1)
    values = dict(zip(result.labels, means.tolist(), strict=True))
    falling = sorted(values.items(), key=lambda item: -item[1])
    assert [label for label, _ in result.top(4)] == [label for label, _ in falling[:4]]
    assert [label for label, _ in result.bottom(4)] == [label for label, _ in falling[::-1][:4]]
    by_size = sorted(values.items(), key=lambda item: -abs(item[1]))
    assert [label for label, _ in result.top(4, by="abs")] == [label for label, _ in by_size[:4]]
    assert [label for label, _ in result.bottom(2, by="abs")] == [label for label, _ in by_size[::-1][:2]]
    for label, value in (*result.top(4, by="abs"), *result.bottom(4)):
        assert value == pytest.approx(values[label])
    assert len(result.top(1000)) == len(result.labels)
    assert result.top(0) == []


def test_the_most_negative_part_is_at_the_bottom_and_large_by_its_size() -> None:
    result = attribution()
    assert result.bottom(1)[0][1] == pytest.approx(float(result.values.min()))
    assert result.bottom(1)[0][1] < 0 < result.top(1)[0][1]
    assert abs(result.top(1, by="abs")[0][1]) == pytest.approx(float(result.values.abs().max()))


def test_select_keeps_the_totals_of_all_parts() -> None:
    result = attribution(UNEQUAL, None)
    heads = result.select(kind="head")
    assert heads.labels == [f"L{layer}H{head}" for layer in range(2) for head in range(4)]
    assert torch.equal(heads.total.nan_to_num(), result.total.nan_to_num())
    assert torch.equal(heads.gap.nan_to_num(), result.gap.nan_to_num())
    assert result.select("L1H2").labels == ["L1H2"]
    assert result.select(["embed", "1_b_O"]).labels == ["embed", "1_b_O"]
    assert result.select(layer=1).labels == ["L1H0", "L1H1", "L1H2", "L1H3", "1_b_O", "1_mlp_out"]
    assert result.select(kind="head", layer=0).labels == ["L0H0", "L0H1", "L0H2", "L0H3"]
    assert result.select(where=lambda part: part.head == 2).labels == ["L0H2", "L1H2"]
    index = result.labels.index("L1H2")
    assert torch.equal(result.select("L1H2").values[0].nan_to_num(), result.values[index].nan_to_num())


@each_case
def test_dataset_has_named_dimensions_and_coordinates(case: str) -> None:
    result = attribution(*CASES[case])
    data = result.to_xarray()
    dims = ("batch",) if case in ("one", "batch") else ("batch", "position")
    assert data["values"].dims == ("part", *dims)
    for name in ("total", "constant", "logit", "output_logit", "gap", "tolerance"):
        assert data[name].dims == dims
        torch.testing.assert_close(torch.from_numpy(data[name].values), getattr(result, name), equal_nan=True)
    assert data.coords["part"].values.tolist() == result.labels
    head = data.sel(part="L1H3")
    assert [head.coords[name].item() for name in ("kind", "layer", "head")] == ["head", 1, 3]
    assert [data.sel(part="embed").coords[name].item() for name in ("layer", "head")] == [-1, -1]
    assert data["values"].sel(part="L1H3").values == pytest.approx(
        result.values[result.labels.index("L1H3")].numpy(), nan_ok=True
    )
    assert data.coords["token"].dims == dims


def test_tokens_are_those_at_the_positions() -> None:
    result = attribution(UNEQUAL, None)
    assert [len(row) for row in result.tokens] == [15, 4]
    assert result.tokens[1] == ["<s>", "When", " Mary", " went"]
    data = result.to_xarray()
    assert data.token.values[1].tolist() == [*result.tokens[1], *[""] * 11]
    assert data.position_in_prompt.values[1].tolist() == [0, 1, 2, 3, *[-1] * 11]
    last = attribution(UNEQUAL).to_xarray()
    assert last.token.values.tolist() == [" to", " went"]
    assert last.position_in_prompt.values.tolist() == [14, 3]


@each_case
def test_frame_has_a_row_for_each_part_prompt_and_position_that_exists(case: str) -> None:
    result = attribution(*CASES[case])
    frame = result.to_dataframe()
    assert len(frame) == int((~result.values.isnan()).sum())
    assert {"part", "kind", "layer", "head", "batch", "token", "value"} <= set(frame.columns)
    of_head = frame[(frame.part == "L0H1") & (frame.batch == 0)]
    expected = result.values[result.labels.index("L0H1"), 0]
    assert of_head.value.to_numpy() == pytest.approx(expected[~expected.isnan()].numpy())
    heads = frame[frame.kind == "head"].groupby(["batch"]).value.sum()
    assert heads.loc[0] == pytest.approx(float(result.select(kind="head").values[:, 0].nansum()), rel=1e-4)


def test_an_unbatched_cache_has_no_batch_dimension() -> None:
    model, tokens = GPT2.model(), some_tokens(16, 1)
    _, cache = model.run_with_cache(tokens)
    cache.remove_batch_dim()
    for pos, dims in ((-1, ()), (None, ("position",))):
        result = dla.Attributor(model, dla.HeadDecomposer()).attribute(None, dla.Logit(9), pos=pos, cache=cache)
        assert result.to_xarray()["values"].dims == ("part", *dims)
        assert len(result.to_dataframe()) == result.values.numel()
        assert result.tokens == []
        assert len(result.top(3)) == 3
        assert "the model's own logit" in str(result)


@pytest.mark.parametrize("name", ["gemma2", "granite-biases"])
def test_where_the_model_caps_or_scales_its_logits_the_table_says_what_it_returns(name: str, tmp_path: Path) -> None:
    model, tokens = TinyModel(name).model(), some_tokens(16, 1)
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(tokens, dla.Logit(9))
    with torch.no_grad():
        returned = float(model(tokens)[0, -1, 9])
    text = str(result)
    assert "the model's own logit" not in text
    assert re.search(rf"what the model returns +│ +{re.escape(f'{returned:+.4f}')}", text)
    assert re.search(rf"its logit before cap or scale +│ +{re.escape(f'{float(result.logit):+.4f}')}", text)
    assert abs(returned - float(result.logit)) > 0.01
    assert f"it returns {returned:+.2f}" in " ".join(str(result.caveats()).split())
    assert re.search(rf"what the model returns +│ +{re.escape(f'{returned:+.4f}')}", str(result - result))
    result.report(tmp_path / "page.html")
    assert "caps or scales its logits" in (tmp_path / "page.html").read_text(encoding="utf-8")
    part = result.trace("L1H1", by=dla.ComponentDecomposer())
    assert "the row as measured" in str(part)
    assert "what the model returns" not in str(part)


def test_text_shows_both_ends_and_the_proof() -> None:
    result = attribution(decomposer=dla.NeuronDecomposer())
    text = str(result)
    assert "logit difference ' Mary' - ' John', NeuronDecomposer" in text
    for label, value in (*result.top(10), *result.bottom(10)):
        [line] = [line for line in text.splitlines() if line.split()[1:2] == [label]]
        assert f"{value:+.4f}" in line or "e-" in line
    for words in ("sum of the parts", "constant", "the model's own logit", "largest gap"):
        assert words in text
    assert f"{float(result.logit):+.4f}" in text
    assert text.count("█") > 20
    plain = Console(width=80, no_color=True)
    with plain.capture() as capture:
        plain.print(result)
    assert "sum of the parts" in capture.get()


def test_text_of_a_small_attribution_shows_every_part_once() -> None:
    result = attribution(UNEQUAL, None, dla.ComponentDecomposer())
    first_words = [line.split()[1] for line in str(result).splitlines() if len(line.split()) > 1]
    assert all(first_words.count(label) == 1 for label in result.labels)
    assert "mean over 19 positions of 2 prompts" in " ".join(str(result).split())


def test_text_of_a_trajectory_speaks_of_its_last_row() -> None:
    assert "the last row" in str(attribution(decomposer=dla.LayerDecomposer()))


def test_html_is_a_table_and_escapes_what_it_shows() -> None:
    result = attribution()
    html = result._repr_html_()
    assert html.startswith("<table")
    assert html.endswith("</p>")
    assert all(f">{label}<" in html for label in result.labels)
    evil = dla.Attributor(GPT2.model(), dla.HeadDecomposer()).attribute(PROMPT, dla.Logit("<s>"))
    evil = replace(evil, parts=(dla.Label("part", text="<b>"), *evil.parts[1:]))
    assert "<s>" not in evil._repr_html_()
    assert "<b>" not in evil._repr_html_()
    assert "&lt;s&gt;" in evil._repr_html_()


def test_an_attributor_says_in_a_line_what_it_splits() -> None:
    attributor = dla.Attributor(GPT2.model(), dla.HeadDecomposer(layers=[1]), check="warn")
    result = attributor.attribute([PROMPT, PROMPT], dla.Logit(" Mary"))
    name = result.provenance.model
    assert repr(attributor) == f"Attributor({name}, HeadDecomposer(layers=[1]), check='warn')"
    assert repr(result.rerun) == f"Rerun({name}, HeadDecomposer, 2 prompts)"


def test_repr_is_short() -> None:
    """A line at a Python prompt says what it is; a notebook shows a table."""
    model = GPT2.model()
    result = dla.Attributor(model, dla.NeuronDecomposer()).attribute([PROMPT, PROMPT], dla.Logit(" Mary"), pos=None)
    several = dla.Attributor(model, dla.HeadDecomposer()).attribute(PROMPT, dla.TopTokens(3))
    report = dla.Attributor(model, dla.HeadDecomposer()).explain_gap(PROMPT, dla.Logit(" Mary"))
    part = several.direction(several.directions[0]).part("L1H1")
    shown = {
        result: rf"Attribution\(logit of ' Mary', Neuron\w+: {len(result.parts)} parts, logit [-+.0-9]+ \(mean of",
        several: r"Attribution\(.*, HeadDecomposer: 14 parts, 3 directions, largest gap .*, allowed .*\)$",
        part: r"Part\(L1H1, logits [-+.0-9]+\)$",
        part.top_tokens(9): r"TokenEffects\(L1H1, up: '.*' \+.*; down: '.*' -.*\)$",
        report: r"GapReport\(3 places, no gap beyond rounding\)$",
    }
    for thing, pattern in shown.items():
        assert re.match(pattern, repr(thing)), repr(thing)
        assert len(repr(thing)) < 200
        html = thing._repr_html_()
        assert html.startswith("<table")
        assert html.endswith(("</p>", "</table>", "</details>"))


def test_a_warning_instead_of_an_error_returns_the_numbers_with_their_gap() -> None:
    attributor = dla.Attributor(
        GPT2.model(), AlteredDecomposer(dla.HeadDecomposer(), without("mlp_out", 1)), check="warn"
    )
    with pytest.warns(dla.ReconstructionWarning, match="explain_gap") as warned:
        result = attributor.attribute(PROMPT, dla.Logit(" Mary"))
    assert warned[0].filename == __file__, "the warning names the line that called"
    right = dla.Attributor(GPT2.model(), dla.HeadDecomposer()).attribute(PROMPT, dla.Logit(" Mary"))
    missing = right.values[right.labels.index("1_mlp_out")]
    torch.testing.assert_close(result.gap, missing, rtol=1e-4, atol=1e-5)


def test_labels_spell_themselves_as_transformer_lens_does() -> None:
    assert [str(dla.Label(*words)) for words in (("embed",), ("attn_out", 3), ("head", 9, 6), ("neuron", 2, 7))] == [
        "embed",
        "3_attn_out",
        "L9H6",
        "L2N7",
    ]
    assert str(dla.Label("post", text="final_post")) == "final_post"
    assert dla.Label("head", 9, 6).head == 6
    assert dla.Label("neuron", 9, 6).head is None


def test_choosing_among_many_parts_looks_at_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each neuron: as many looks as rows, not one for each pair of them."""
    result = attribution()
    looks = []
    monkeypatch.setattr(type(result.parts[0]), "__str__", lambda part: looks.append(part) or part.kind)
    result.select(list(result.labels))
    assert len(looks) <= 4 * len(result.parts)


def test_a_part_has_a_name() -> None:
    result = dla.Attributor(GPT2.model(), dla.HeadDecomposer()).attribute(some_tokens(3), dla.Logit(9))
    with pytest.raises(ValueError, match="A group is called ''. Pass a text of at least one character"):
        result.group_by({"": ["L0H0", "L0H1"]})
    for call in (
        lambda: result.group_by(lambda label: dla.Label("group", text="")),
        lambda: dla.Label(""),
    ):
        with pytest.raises(ValueError, match="A part cannot be called ''. Give it a name"):
            call()
