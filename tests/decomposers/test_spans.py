"""Heads by named spans of the prompt, against the rows by source that they are the sums of."""

from typing import Any

import pytest
import torch
from subjects import GPT2, LLAMA, params, some_ids, some_tokens

import dla
from dla.inputs.spans import SpanPlaces
from dla.inputs.text_pieces import text_pieces
from dla.testing import TinyModel, assert_attributions_equal
from dla.testing.assertions import assert_close
from dla.testing.models import PROMPT

TEXTS = [PROMPT, "Then Anna and Bob went to the park , Bob gave a ball to", "John gave a drink to"]
NAMES = ["Mary", "Anna", None]
SINKS = TinyModel("gpt_oss")
DIRECTION = dla.LogitDifference(9, 12)


def by_hand(result: dla.Attribution, places: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """The rows of each span, prompt by prompt, added up from rows by source."""
    found: dict[str, torch.Tensor] = {}
    for part, values in zip(result.parts, result.values, strict=True):
        if part.kind != "source":
            continue
        for i, own in enumerate(places):
            name = next((name for name, positions in own.items() if part.source in positions), "rest")
            row = found.setdefault(f"{part.parent} ← {name}", torch.zeros_like(values))
            row[i] += values[i]
    return found


def assert_same_rows(result: dla.Attribution, expected: dict[str, torch.Tensor], subject: TinyModel) -> None:
    size = result.values.abs().sum(0)
    rows = {str(part): values for part, values in zip(result.parts, result.values, strict=True) if part.kind == "span"}
    assert rows.keys() == expected.keys()
    for label, values in expected.items():
        assert_close(rows[label], values, size, subject.eps, label)


@pytest.mark.parametrize("subject", params([GPT2, LLAMA, SINKS, TinyModel("gpt2", processed=True)]))
@pytest.mark.parametrize("pos", [-1, None])
def test_a_span_is_the_sum_of_its_sources_in_every_prompt(subject: TinyModel, pos: int | None) -> None:
    tokens, direction = some_tokens(2), dla.Logit(some_ids(1, 2, 6) if pos is None else some_ids(1, 2))
    spans = {"subject": [[1, 2], range(3, 4)], "first": 0}
    model = subject.model()
    sources = dla.Attributor(model, dla.SourceDecomposer()).attribute(tokens, direction, pos=pos)
    result = dla.Attributor(model, dla.SourceDecomposer(spans=spans)).attribute(tokens, direction, pos=pos)
    expected = by_hand(sources, [{"subject": [1, 2], "first": [0]}, {"subject": [3], "first": [0]}])
    assert_same_rows(result, expected, subject)
    assert_same_rows(sources.group_by(spans=spans), expected, subject)
    assert bool((result.gap.abs() <= result.tolerance).all())
    torch.testing.assert_close(result.total, sources.total)


def test_a_text_is_found_in_each_prompt() -> None:
    attributor = dla.Attributor(GPT2.model(), dla.SourceDecomposer(spans={"giver": NAMES, "verb": " gave"}))
    result = attributor.attribute(TEXTS, DIRECTION)
    sources = dla.Attributor(GPT2.model(), dla.SourceDecomposer()).attribute(TEXTS, DIRECTION)
    places = [{"giver": [2], "verb": [11]}, {"giver": [2], "verb": [11]}, {"verb": [2]}]
    found = [[tokens[s] for s in own["verb"]] for tokens, own in zip(result.tokens, places, strict=True)]
    assert found == [[" gave"]] * 3
    assert_same_rows(result, by_hand(sources, places), GPT2)


def test_one_prompt_of_several_has_its_own_spans() -> None:
    """Also where it is refined, which runs the model for that prompt alone."""
    attributor = dla.Attributor(GPT2.model(), dla.SourceDecomposer(spans={"giver": NAMES}))
    result = attributor.attribute(TEXTS, DIRECTION)
    for i, text in enumerate(TEXTS):
        alone = dla.Attributor(GPT2.model(), dla.SourceDecomposer(spans={"giver": [NAMES[i]]})).attribute(
            text, DIRECTION
        )
        assert_attributions_equal(result[i], alone, eps=GPT2.eps)
    finer = result[1].refine("L1H0 ← giver", by=dla.SourceDecomposer())
    assert [label for label in finer.labels if label.startswith("L1H0 ← 2")] == ["L1H0 ← 2 ' Anna'"]


def test_a_span_is_refined_into_its_tokens() -> None:
    attributor = dla.Attributor(
        GPT2.model(), dla.SourceDecomposer(spans={"people": ["Mary and John went", "Anna", None]})
    )
    result = attributor.attribute(TEXTS, DIRECTION)
    finer = result.refine("L1H2 ← people", by=dla.SourceDecomposer(layers=[1]))
    pieces = [i for i, part in enumerate(finer.parts) if part.kind == "source"]
    assert [finer.parts[i].source for i in pieces] == [2, 3, 4, 5]
    row = result.values[result.labels.index("L1H2 ← people")]
    assert_close(finer.values[pieces].sum(0), row, result.values.abs().sum(0), GPT2.eps, "pieces")
    assert bool((finer.values[pieces[1:], 1] == 0).all())  # of the second prompt one token is in the span
    assert bool((finer.values[pieces, 2] == 0).all())
    assert bool((finer.gap.abs() <= finer.tolerance).all())


SPANS = {"people": "Mary and John went", "place": " store"}


@pytest.mark.parametrize("first", ["source", "spans"])
def test_what_all_heads_read_from_a_span(first: str) -> None:
    """In either order, and in pieces again: by head, by token, by both."""
    model = GPT2.model()
    spanned = dla.Attributor(model, dla.SourceDecomposer(spans=SPANS)).attribute(PROMPT, DIRECTION)
    sources = dla.Attributor(model, dla.SourceDecomposer()).attribute(PROMPT, DIRECTION)
    coarse = (
        sources.group_by("source").group_by(spans=SPANS)
        if first == "source"
        else sources.group_by(spans=SPANS).group_by("source")
    )
    expected = spanned.group_by("source")
    assert [label for label in coarse.labels if "←" in label and "b_V" not in label] == [
        "← rest",
        "← people",
        "← place",
    ]
    size = sources.values.abs().sum(0)
    for label in ("← people", "← place", "← rest"):
        row = expected.select(label).values[0]
        assert_close(coarse.select(label).values[0], row, size, GPT2.eps, label)
        for result in (coarse, expected):
            heads = result.refine(label, by=dla.SourceDecomposer(spans=SPANS))
            assert len(heads.labels) == len(result.labels) + 7  # eight heads for one row
            by_head = heads.select(where=lambda part, end=label: str(part).endswith(end))
            assert_close(by_head.values.sum(0), row, size, GPT2.eps, label)
            tokens = result.refine(label, by=dla.SourceDecomposer())
            found = {part.source for part in tokens.parts} - {None}
            assert found == {"← people": {2, 3, 4, 5}, "← place": {8}, "← rest": {*range(15)} - {2, 3, 4, 5, 8}}[label]
            again = tokens.group_by("source").refine(f"← {max(found)}", by=dla.SourceDecomposer())
            assert bool((again.gap.abs() <= again.tolerance).all())


@pytest.mark.parametrize(
    ("grouped", "label", "by", "count"),
    [
        ("source", "← 3", dla.SourceDecomposer(), 8),
        ("layer", "layer 1", dla.HeadDecomposer(), 6),
        ("kind", "mlp_out", dla.ComponentDecomposer(), 2),
        ({"two": ["L0H1", "L1H3"]}, "two", dla.SourceDecomposer(), 2 * 16),
    ],
)
def test_a_group_is_refined_into_what_belongs_to_it(grouped: Any, label: str, by: Any, count: int) -> None:
    decomposer = dla.SourceDecomposer() if grouped == "source" else dla.HeadDecomposer()
    result = dla.Attributor(GPT2.model(), decomposer).attribute(PROMPT, DIRECTION).group_by(grouped)
    finer = result.refine(label, by=by)
    assert len(finer.labels) == len(result.labels) - 1 + count
    kept = [part for part in result.labels if not part.startswith(label)]
    pieces = finer.select(where=lambda part: str(part) not in kept)
    assert_close(pieces.values.sum(0), result.select(label).values[0], result.values.abs().sum(0), GPT2.eps, label)


def test_a_group_that_a_decomposer_does_not_split() -> None:
    result = dla.Attributor(GPT2.model(), dla.SourceDecomposer()).attribute(PROMPT, DIRECTION).group_by("source")
    with pytest.raises(ValueError, match="NeuronDecomposer has no pieces of"):
        result.refine("← 3", by=dla.NeuronDecomposer())


def test_questions_about_spans() -> None:
    """A span is a vector of the stream like any other row, and can be taken away."""
    attributor = dla.Attributor(GPT2.model(), dla.SourceDecomposer(spans=SPANS))
    result = attributor.attribute(PROMPT, DIRECTION)
    vector = result.part("L1H0 ← people").vector()
    sources = dla.Attributor(GPT2.model(), dla.SourceDecomposer()).attribute(PROMPT, DIRECTION)
    expected = sum(sources.part(f"L1H0 ← {s}").vector() for s in (2, 3, 4, 5))
    torch.testing.assert_close(vector, expected, rtol=0, atol=1e-5)
    told, regrouped = (
        one.select(kind="span").direct_effects().to_dataframe().set_index("text")["direct_effect"]
        for one in (result, sources.group_by(spans=SPANS))
    )
    assert {*told.index} == {*regrouped.index}
    assert float((told - regrouped).abs().max()) < 1e-5
    assert len(result.effects(["L1H0 ← people"]).labels) == 1
    assert result.trace("L1H0 ← people", by=dla.HeadDecomposer()).labels


@pytest.mark.parametrize(
    ("spans", "error"),
    [
        ({}, "No span was given"),
        ("subject", r"The spans are 'subject'. Pass a dict of places"),
        ({"": "Mary"}, "'' is not the name of a span"),
        ({"rest": "Mary"}, "A span cannot be called 'rest', which names another row"),
        ({"3": "Mary"}, "A span cannot be called '3'"),
        ({"b_V": "Mary"}, "A span cannot be called 'b_V'"),
        ({"a": 1.5}, r"The span 'a' is 1.5. Pass a text, positions"),
        (["a", "a"], "name one twice"),
    ],
)
def test_spans_that_cannot_be(spans: Any, error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        dla.SourceDecomposer(spans=spans)


@pytest.mark.parametrize(
    ("spans", "error"),
    [
        ({"a": "Bob"}, r"The span 'a', 'Bob', is not in prompt 0, '<s>When Mary"),
        (
            {"a": "John"},
            r"in prompt 0 2 times, at the positions 4; 10. Say which one, from 0: dla.Span\('John', 0\)",
        ),
        ({"a": dla.Span("John", 2)}, r"is in prompt 0 2 times, and occurrence 2 is asked for \(from -2 to 1\)"),
        ({"a": "ary and"}, r"cuts a token of prompt 0: ' Mary' at position 2. Let it begin and end where tokens do"),
        ({"a": "Mary and Joh"}, r"cuts a token of prompt 0: ' John' at position 4"),
        ({"a": " "}, "holds no word"),
        ({"a": "Mary and", "b": [3]}, r"The spans 'a' and 'b' overlap: both hold position 3, ' and' of prompt 0"),
        ({"a": 15}, r"The span 'a' holds 15, which is no position of prompt 0, of 15 tokens \(from -15 to 14\)"),
        ({"a": range(0)}, "holds no position of prompt 0"),
        ({"a": ["Mary", "Mary"]}, "The span 'a' has 2 places for 1 prompts. Pass one for each"),
        (["a"], r"The span 'a' is only named, and these prompts come without spans"),
    ],
)
def test_spans_that_are_not_there(spans: Any, error: str) -> None:
    attributor = dla.Attributor(GPT2.model(), dla.SourceDecomposer(spans=spans))
    with pytest.raises((TypeError, ValueError), match=error):
        attributor.attribute(PROMPT, DIRECTION)


def test_where_a_text_is() -> None:
    """By occurrence, with and without the space in front, and not in what is asked about behind the prompt."""
    model = GPT2.model()

    def positions(place: Any, prompt: str = PROMPT, direction: Any = DIRECTION) -> list[int]:
        result = dla.Attributor(model, dla.SourceDecomposer(spans={"a": place})).attribute(prompt, direction)
        assert result.rerun is not None
        return list(SpanPlaces.of({"a": place}, result.rerun.query.prompts).positions[0][0])

    assert positions(dla.Span("John", 0)) == positions(dla.Span(" John", -2)) == [4]
    assert positions(dla.Span("John", -1)) == positions(slice(10, 11)) == positions(-5) == [10]
    assert positions("Mary and John") == positions(" Mary and John ") == [2, 3, 4]
    assert positions("<s>") == [0]
    assert positions("Mary", direction=dla.Continuation(" Mary .")) == [2]
    assert positions([2, -1], direction=dla.Continuation(" Mary .")) == [2, 16]


def test_a_result_without_rows_by_source_has_no_spans() -> None:
    heads = dla.Attributor(GPT2.model(), dla.HeadDecomposer()).attribute(PROMPT, DIRECTION)
    with pytest.raises(ValueError, match="No row comes from a position of the prompt"):
        heads.group_by(spans=SPANS)
    with pytest.raises(TypeError, match="group_by takes a key, such as 'layer', or spans"):
        heads.group_by()


def test_spans_of_a_result_from_a_file(tmp_path: Any) -> None:
    """Positions are known there, words are not; with the model, the spans are those that they were."""
    model = GPT2.model()
    attributor = dla.Attributor(model, dla.SourceDecomposer(spans={"giver": NAMES, "last": dla.Span(" to", -1)}))
    result = attributor.attribute(TEXTS, DIRECTION)
    for i, one in enumerate((result, result[1])):
        one.save(tmp_path / f"{i}.nc")
        again = dla.load(tmp_path / f"{i}.nc", model=model)
        assert_attributions_equal(again, one, eps=GPT2.eps)
        assert again.refine("L1H0 ← giver", by=dla.SourceDecomposer()).labels
    dla.Attributor(model, dla.SourceDecomposer()).attribute(PROMPT, DIRECTION).save(tmp_path / "sources.nc")
    loaded = dla.load(tmp_path / "sources.nc")
    assert "L0H0 ← begin" in loaded.group_by(spans={"begin": [0, 1]}).labels
    with pytest.raises(ValueError, match="is a text, and the prompts' tokens are not known here"):
        loaded.group_by(spans=SPANS)


def test_a_long_prompt_holds_no_row_of_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows have their room before the model runs, and there is one for each head and span."""
    monkeypatch.setattr("dla.decomposers.plans.Plan.merged", None)
    monkeypatch.setattr("dla.writes.sources._AT_A_TIME", 64)
    attributor = dla.Attributor(GPT2.model(), dla.SourceDecomposer(spans={"a": 1}))
    result = attributor.attribute(some_tokens(5), dla.Logit(7), pos=None)
    assert sum(part.kind == "span" for part in result.parts) == 2 * 8


class Bytes:
    """A tokenizer whose tokens are bytes, as those of a letter without a token of its own."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, ids: Any) -> str:
        self.calls += len(ids)
        return bytes(ids).decode(errors="replace")


@pytest.mark.parametrize("text", ["ab", "aé b", "日本 x", "🙂🙂", "é"])
def test_tokens_that_share_a_letter_are_one_piece(text: str) -> None:
    ids = list(text.encode())
    pieces = text_pieces(ids, Bytes())
    assert "".join(piece.text for piece in pieces) == text
    assert [piece.text for piece in pieces] == list(text)
    assert [(piece.first, piece.stop) for piece in pieces] == [
        (len(text[:i].encode()), len(text[: i + 1].encode())) for i in range(len(text))
    ]


def test_reading_the_pieces_costs_no_more_than_the_text() -> None:
    short, long = Bytes(), Bytes()
    text_pieces(list(b"a" * 100), short)
    text_pieces(list(b"a" * 1000), long)
    assert long.calls < 11 * short.calls


def test_half_a_letter_at_the_end_is_a_piece() -> None:
    assert [(p.text, p.first, p.stop) for p in text_pieces(list("aé".encode()[:-1]), Bytes())] == [
        ("a", 0, 1),
        ("\N{REPLACEMENT CHARACTER}", 1, 2),
    ]
