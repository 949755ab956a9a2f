"""A sweep asks what `attribute` asks: any direction, answers of several tokens, spans of each row."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sweep_subjects import Interrupted, as_csv, as_lines, as_parquet, assert_same, attributor, frame, prompts_of, stop

import dla
import dla.demo
from dla.sweeps.static_plan import StaticPlan

ANSWER, INCORRECT = dla.Column("answer"), dla.Column("incorrect")
VECTOR = torch.linspace(-1, 1, 32)
END = "blocks.1.hook_resid_pre"


def vector(model: Any) -> torch.Tensor:
    return torch.linspace(-1, 1, model.cfg.d_model)


MODEL = dla.demo.load_small("raw")
QUESTIONS: dict[str, tuple[Any, Any]] = {
    "log-probability": (dla.LogProbability(ANSWER), lambda row: dla.LogProbability(row["answer"])),
    "centred": (dla.CentredLogit(INCORRECT), lambda row: dla.CentredLogit(row["incorrect"])),
    "difference": (
        dla.LogProbability(ANSWER) - 0.5 * dla.Logit(INCORRECT),
        lambda row: dla.LogProbability(row["answer"]) - 0.5 * dla.Logit(row["incorrect"]),
    ),
    "set": (dla.LogitSet([" Mary", " John"]), lambda _: dla.LogitSet([" Mary", " John"])),
    "token": (" Mary", lambda _: dla.Logit(" Mary")),
    "column": (INCORRECT, lambda row: dla.Logit(row["incorrect"])),
    "vector": (dla.ResidualVector(vector(MODEL)), lambda _: dla.ResidualVector(vector(MODEL))),
    "earlier": (dla.ResidualVector(vector(MODEL), END), lambda _: dla.ResidualVector(vector(MODEL), END)),
    "first": (dla.TopTokens(1), lambda _: dla.TopTokens(1)),
    "answer": (dla.Continuation(dla.Column("text")), lambda row: dla.Continuation(row["text"])),
    "answers": (
        dla.Continuation(dla.Column("text"), dla.Column("other")),
        lambda row: dla.Continuation(row["text"], row["other"]),
    ),
    "same answer": (dla.Continuation(" Mary ."), lambda _: dla.Continuation(" Mary .")),
}


def corpus(count: int = 9) -> pd.DataFrame:
    """Rows with the text of their answers, of one token or two, and the words of a span."""
    made = frame(count)
    ends = [" ." if i % 2 else "" for i in range(count)]
    made["text"] = made["answer"] + pd.Series(ends)
    made["other"] = made["incorrect"] + pd.Series(ends)
    made["thing"] = [f"{text.split()[-3]} {text.split()[-2]}" for text in made["prompt"]]
    return made


def assert_as_attributed(folder: dla.SweepFolder, by: dla.Attributor, rows: pd.DataFrame, question: Any) -> None:
    """Each row has the numbers that one attribution of its prompt has, summed over the tokens of an answer."""
    count = 0
    for row, values in prompts_of(folder):
        asked = rows.loc[row["row"]]
        direction, count = question(asked), count + 1
        pos = {} if isinstance(direction, dla.Continuation) else {"pos": [-1]}
        alone = by.attribute(asked["prompt"], direction, **pos)
        alone = alone.direction(alone.directions[0]) if alone.directions else alone
        allowed = float(alone.tolerance.sum())
        assert folder.labels == alone.labels
        np.testing.assert_allclose(values, alone.values.sum((1, 2)).numpy(), rtol=0, atol=allowed)
        for name in ("total", "constant", "logit", "output_logit"):
            assert row[name] == pytest.approx(float(getattr(alone, name).sum()), rel=0, abs=allowed)
        assert abs(row["gap"]) <= row["tolerance"]
        assert row["at"] == int(alone.positions[0, 0])
        assert row["tokens"] == len(by.attribute(asked["prompt"], dla.Logit(5)).tokens[0])
    assert count + len(folder.rejected()) == len(rows)
    assert count > 0


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_row_is_that_of_the_prompt_alone(name: str, tmp_path: Any) -> None:
    direction, question = QUESTIONS[name]
    by, rows = attributor(), corpus()
    folder = dla.sweep(rows, by, tmp_path, direction=direction, batch_tokens=64)
    assert folder.count == len(rows)
    assert_as_attributed(folder, by, rows, question)
    summary = dla.Summary.load(tmp_path)
    assert summary.about.direction == folder.manifest["direction"]
    assert summary.to_dataframe()["mean"].notna().all()
    assert folder.manifest["direction"] in str(summary.about)
    assert str(summary)


def test_gaps_of_two_tokens_do_not_cancel(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One token of an answer has one logit too many and the next one too few: their sum is right, and neither is."""
    measure = StaticPlan.measure

    def shifted(plan: StaticPlan, *asked: Any) -> Any:
        run = measure(plan, *asked)
        both = asked[2].valid.all(-1, keepdim=True)
        if run.logit.shape[-1] != 2:
            return run
        return replace(run, logit=run.logit + torch.where(both, torch.tensor([1.0, -1.0]), torch.zeros(2)))

    monkeypatch.setattr(StaticPlan, "measure", shifted)
    rows = corpus()
    with pytest.warns(dla.SweepWarning, match=r"miss the model's logit by 1\.0e\+00"):
        folder = dla.sweep(rows, attributor(), tmp_path, direction=dla.Continuation(dla.Column("text")))
    two = [i for i, text in enumerate(rows["text"]) if text.endswith(" .")]
    assert [row["row"] for row in folder.rejected().to_dict("records")] == two


def test_a_corpus_needs_the_columns_that_are_asked_about(tmp_path: Any) -> None:
    rows = corpus(4).drop(columns=["answer", "incorrect"])
    by = attributor()
    assert dla.sweep(rows, by, tmp_path / "a", direction=dla.LogitSet([" Mary", " John"])).count == 4
    assert "None" not in repr(dla.Summary.load(tmp_path / "a").top_prompts("L1H1")[0])
    with pytest.raises(ValueError, match=r"has no column 'names'.*'prompt' and 'names' are needed"):
        dla.sweep(rows, by, tmp_path / "b", direction=dla.Logit(dla.Column("names")))
    spans = attributor(dla.SourceDecomposer(spans=["who"]))
    with pytest.raises(ValueError, match=r"has no column 'who'.*'prompt', 'answer' and 'who' are needed"):
        dla.sweep(corpus(4), spans, tmp_path / "c")


@pytest.mark.parametrize(
    ("direction", "error"),
    [
        (dla.TopTokens(3), "A sweep asks one question of each row, and TopTokens"),
        ({"a": dla.Logit(5), "b": dla.Logit(6)}, "A sweep asks one question of each row"),
        (dla.Logit([" Mary", " John"]), r"The token tensor has shape \[2\]. For 1 prompts"),
        (dla.Logit(" Zebra"), "' Zebra' is not in the model's vocabulary"),
        (1.5, "The direction is 1.5. Pass an instance"),
    ],
)
def test_what_a_sweep_cannot_ask(direction: Any, error: str, tmp_path: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        dla.sweep(corpus(3), attributor(), tmp_path / "out", direction=direction)
    assert not (tmp_path / "out").exists()


def test_a_column_is_of_a_sweep() -> None:
    for direction in (dla.Logit(ANSWER), dla.LogProbability(ANSWER), dla.Continuation(ANSWER)):
        with pytest.raises(ValueError, match=r"Column\(name='answer'\) is a column of a corpus, and these prompts"):
            attributor().attribute("Mary gave a ring to", direction)


OTHERS = (
    ("log-probability", "centred"),
    ("vector", "vectors"),
    ("answer", "answers"),
    ("set", "sets"),
)


@pytest.mark.parametrize(("first", "second"), OTHERS, ids=lambda name: name)
def test_another_question_is_not_resumed(first: str, second: str, tmp_path: Any) -> None:
    """Also one of the same words: another vector, the same tokens with other weights."""
    several = {name: direction for name, (direction, _) in QUESTIONS.items()}
    several["vectors"] = dla.ResidualVector(vector(MODEL).flip(0))
    several["sets"] = dla.LogitSet([" Mary", " John"], [2.0, -1.0])
    by, rows = attributor(), corpus()
    with pytest.raises(OSError, match="stopped"):
        dla.sweep(rows, by, tmp_path / "a", direction=several[first], window=4, engine=Interrupted(stop, after=1))
    for other in (several[second], None):
        with pytest.raises(ValueError, match="holds a sweep of something else: it asks for the .* there, and for the"):
            dla.sweep(rows, by, tmp_path / "a", direction=other, window=4)
    resumed = dla.sweep(rows, by, tmp_path / "a", direction=several[first], window=4)
    assert_same(resumed, dla.sweep(rows, by, tmp_path / "b", direction=several[first], window=4))
    both = dla.Summary.load(tmp_path / "a")
    other = dla.Summary.load(dla.sweep(rows, by, tmp_path / "c", direction=several[second], window=4).path)
    with pytest.raises(ValueError, match="mean over both says nothing"):
        both.merge(other)


def test_the_same_question_made_again_is_resumed(tmp_path: Any) -> None:
    by, rows = attributor(), corpus(4)
    for _ in range(2):
        direction = dla.ResidualVector(vector(MODEL).clone()) - dla.LogProbability(dla.Column("answer"))
        folder = dla.sweep(rows, by, tmp_path, direction=direction)
    assert folder.complete


SPANS = {"thing": None, "begin": [0, 1]}


@pytest.mark.parametrize(
    "way", [lambda rows, _: rows, as_lines, as_csv, as_parquet], ids=["frame", "lines", "csv", "pq"]
)
@pytest.mark.parametrize("name", ["log-probability", "answers"])
def test_spans_of_each_row(name: str, way: Any, tmp_path: Any) -> None:
    """A column names the words of each row; the rows are those of `attribute` with one span for each prompt."""
    direction, question = QUESTIONS[name]
    rows = corpus()
    by = attributor(dla.SourceDecomposer(spans=["thing"]))
    folder = dla.sweep(way(rows, tmp_path), by, tmp_path / "out", direction=direction, batch_tokens=64)
    assert "L1H2 ← thing" in folder.labels
    for row, values in prompts_of(folder):
        asked = rows.loc[row["row"]]
        one = attributor(dla.SourceDecomposer(spans={"thing": asked["thing"]}))
        alone = one.attribute(asked["prompt"], question(asked))
        axes = tuple(range(1, alone.values.ndim))
        allowed = float(alone.tolerance.sum())
        np.testing.assert_allclose(values, alone.values.sum(axes).numpy(), rtol=0, atol=allowed)


def test_spans_by_position_and_the_same_for_all_rows(tmp_path: Any) -> None:
    rows = corpus(5).assign(place=[[2], [3, 4], 5, [1], [6]], position=-2)
    spans: Any = {"begin": [0, 1], "place": [2]}
    by = attributor(dla.SourceDecomposer(spans=["place"]))
    folder = dla.sweep(rows, by, tmp_path / "a")
    for row, values in prompts_of(folder):
        asked = rows.loc[row["row"]]
        one = attributor(dla.SourceDecomposer(spans={"place": asked["place"]}))
        alone = one.attribute(asked["prompt"], dla.LogitDifference(asked["answer"], asked["incorrect"]), pos=-2)
        np.testing.assert_allclose(values, alone.values[:, 0].numpy(), rtol=0, atol=float(alone.tolerance))
    fixed = attributor(dla.SourceDecomposer(spans=spans))
    assert dla.sweep(rows, fixed, tmp_path / "b").count == 5
    elsewhere = attributor(dla.SourceDecomposer(spans={"begin": [0, 1], "place": [3]}))
    with pytest.raises(ValueError, match="the parts differ"):
        dla.sweep(rows, elsewhere, tmp_path / "b")
    each = attributor(dla.SourceDecomposer(spans={"place": [[1], [2]]}))
    with pytest.raises(ValueError, match=r"In a sweep it is a column of the corpus: pass its name alone"):
        dla.sweep(rows, each, tmp_path / "c")


def test_a_span_after_the_position_is_empty(tmp_path: Any) -> None:
    """Whole or in part: what the position does not read is no part of a row."""
    rows = corpus(4).assign(position=3, first=[[1, 2, 3, 4]] * 4)
    by = attributor(dla.SourceDecomposer(spans=["thing", "first"]))
    folder = dla.sweep(rows, by, tmp_path)
    for row, values in prompts_of(folder):
        asked, found = rows.loc[row["row"]], dict(zip(folder.labels, values, strict=True))
        one = attributor(dla.SourceDecomposer(spans={"first": [1, 2, 3]}))
        alone = one.attribute(asked["prompt"], dla.LogitDifference(asked["answer"], asked["incorrect"]), pos=3)
        assert found["L1H1 ← thing"] == 0
        assert found["L1H1 ← first"] == pytest.approx(float(alone.select("L1H1 ← first").values), abs=1e-5)


@pytest.mark.filterwarnings("ignore::dla.SweepWarning")
def test_rejected_rows_say_why_and_where(tmp_path: Any) -> None:
    rows = corpus(8)
    rows["text"] = rows["text"].astype(object)
    rows["thing"] = rows["thing"].astype(object)
    rows["position"] = [None, None, None, None, None, None, 3, None]
    rows.loc[0, "thing"] = "zebra"
    rows.loc[1, "thing"] = rows.loc[1, "incorrect"]
    rows.loc[2, "thing"] = None
    rows.loc[3, "text"] = None
    rows.loc[4, "text"] = " zebra"
    rows.loc[5, "other"] = " Mary . ."
    by = attributor(dla.SourceDecomposer(spans=["thing"]))
    direction = dla.Continuation(dla.Column("text"), dla.Column("other"))
    rejected = dla.sweep(rows, by, tmp_path, direction=direction).rejected()
    assert rejected["row"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    expected = [
        "The span 'thing', 'zebra', is not in the prompt,",
        "is in the prompt 2 times, at the positions",
        "The row has no 'thing'. Give a text of the prompt, or a list of positions.",
        "The row has no 'text'. Give the answer, as its text or a list of ids.",
        "The continuation ' zebra' holds a word that is not in the model's vocabulary",
        "The two continuations of the prompt are 2 tokens",
        "The row has a position (3), and an answer of several tokens has its own.",
    ]
    for reason, words in zip(rejected["reason"], expected, strict=True):
        assert words in reason
