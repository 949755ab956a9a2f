"""What the model says beside a result: the model's own softmax, whatever was asked."""

from math import exp
from typing import Any

import pytest
import torch
from subjects import each_of_a_few, some_tokens

import dla
import dla.demo
from dla.testing import TinyModel

HEADS = dla.HeadDecomposer()


@each_of_a_few
def test_probabilities_and_ranks_are_the_models_own(subject: TinyModel) -> None:
    tokens, model = some_tokens(8), subject.model()
    with torch.no_grad():
        logs = model(tokens).double().log_softmax(-1)
    result = dla.Attributor(model, HEADS).attribute(tokens, dla.LogitDifference(5, 9), pos=[1, -1])
    for i, (asked, first) in enumerate(zip(result.provenance.said, result.provenance.first, strict=True)):
        own = logs[i // 2, (1, -1)[i % 2]]
        for (_, log, rank), token in zip(asked, (5, 9), strict=False):
            assert log == pytest.approx(float(own[token]), abs=1e-3)
            assert rank == 1 + int((own > own[token]).sum())
        assert [log for _, log, _ in first] == pytest.approx(own.topk(5).values.tolist(), abs=1e-3)
        assert [rank for *_, rank in first] == [1, 2, 3, 4, 5]


def test_it_goes_with_the_result(tmp_path: Any) -> None:
    model = dla.demo.load_small("raw")
    attributor = dla.Attributor(model, HEADS)
    prompts = ["When Mary and John went to the store , John gave a drink to", "Tom and Amy found a ring"]
    result = attributor.attribute(prompts, {"a": dla.Logit([" Mary", " Tom"]), "b": dla.Logit(" John")})
    alone = attributor.attribute(prompts[1], {"a": dla.Logit(" Tom"), "b": dla.Logit(" John")})
    assert [word for word, *_ in result.provenance.said[0]] == ["Mary", "John"]
    assert str(result[1].answers()).split("┏")[1] == str(alone.answers()).split("┏")[1]
    result.save(tmp_path / "x.nc")
    assert str(dla.load(tmp_path / "x.nc").answers()) == str(result.answers())
    frame = result.answers().to_dataframe()
    assert len(frame) == 2 * (2 + 5)
    _, cache = model.run_with_cache(prompts)
    cached = attributor.attribute(prompts, dla.Logit(" Mary"), cache=cache)
    assert cached.answers().first[0][0][0] == "Mary"
    with pytest.raises(ValueError, match=r"^What the model answers was not looked at: the result is about many"):
        attributor.attribute(prompts * 9, dla.Logit(" Mary"), pos=None).answers()


@pytest.mark.slow
def test_another_spelling_that_is_likely_is_told() -> None:
    attributor = dla.Attributor(dla.demo.load_smollm2(), HEADS)
    asked = (
        attributor.attribute("Question: What is the capital of France?\nAnswer:", dla.Logit("Paris")).answers().asked
    )
    assert [word for word, *_ in asked[0]] == ["Paris", " Paris"]
    asked = attributor.attribute("The Eiffel Tower is in the city of", dla.Logit(" Paris")).answers().asked
    assert [word for word, *_ in asked[0]] == [" Paris"]


def printed(result: Any) -> str:
    """A table on a line, without its frame."""
    return " ".join(str(result).split())


def test_a_printed_table_says_what_the_model_says() -> None:
    """Also in a notebook, of a saved result, and below the last of several tables only."""
    attributor = dla.Attributor(dla.demo.load_small("raw"), HEADS)
    prompt = "When Mary and John went to the store , John gave a drink to"
    result = attributor.attribute(prompt, dla.LogitDifference(" Mary", " John"))
    (mary, john), (first, *_) = result.answers().asked[0][:2], result.answers().first[0]
    said = f"The model: 'Mary' {exp(mary[1]):.2%}, rank {mary[2]}; 'John' {exp(john[1]):.2%}, rank {john[2]}"
    assert f"{said}; its first answers '{first[0]}' {exp(first[1]):.2%}, " in printed(result)
    assert f"{said}; its".replace("'", "&#x27;") in result._repr_html_()
    both = attributor.attribute(prompt, {"a": dla.Logit(" Mary"), "b": dla.Logit(" John")})
    assert printed(both).count("The model: ") == both._repr_html_().count("The model: ") == 1
    several = attributor.attribute([prompt, prompt], dla.Logit([" Mary", " Tom"]))
    least, most = (exp(several.answers().asked[i][0][1]) for i in (1, 0))
    told = f"asked about first has rank 1 at 1 of 2 places; probabilities from {least:.2%} to {most:.2%}."
    assert told in printed(several)
    one = attributor.attribute(prompt, dla.Continuation(" Mary ."))
    assert f"The model: the answer {exp(float(one.logit.sum())):.2%}, " in printed(one)
    assert "The model: its first answers" in printed(attributor.attribute(prompt, dla.ResidualVector([1.0] * 64)))
    for silent in (attributor.attribute(prompt, dla.Logit(" Mary")).trace("L1H1", by=HEADS), both.direction("a")):
        assert ("The model: " in printed(silent)) == (silent.provenance.first != ())
