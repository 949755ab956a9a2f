"""Answers of several tokens: each has the rows that it has when asked alone, and the model's own log-probability."""

from typing import Any

import pytest
import torch
from subjects import GPT2, HOOKED_LN, LLAMA, each_of_a_few, needs_hooked_transformer, some_ids, some_tokens
from torch import Tensor

import dla
import dla.demo
from dla.testing import TinyModel, assert_attributions_equal
from dla.testing.assertions import assert_close
from dla.testing.laws.compare import sum_size

HEADS = dla.HeadDecomposer()
DEMO = dla.demo.load_small("raw")
PROMPT = "When Mary and John went to the store , John gave a drink to"
LONGER = "After Rose and Paul left the park , Paul decided to give a book to"


def demo(prompts: Any, direction: Any, **options: Any) -> dla.Attribution:
    return dla.Attributor(DEMO, HEADS).attribute(prompts, direction, **options)


def log_probabilities(model: Any, ids: Tensor, answers: int) -> Tensor:
    """Of the last tokens of some ids, `[answers]`, each after those before it."""
    with torch.no_grad():
        logs = model(ids[None])[0].double().log_softmax(-1)
    return logs[:-1].gather(-1, ids[1:, None])[-answers:, 0]


@each_of_a_few
def test_each_token_has_the_log_probability_that_the_model_gives_it(subject: TinyModel) -> None:
    prompts, answers = some_tokens(1), some_ids(1, 2, 3)
    result = dla.Attributor(subject.model(), HEADS).attribute(prompts, dla.Continuation(answers))
    whole = torch.cat([prompts, answers], 1)
    own = torch.stack([log_probabilities(subject.model(), row, 3) for row in whole])
    assert result.provenance.dims == ("batch", "position")
    assert bool((result.gap.abs() <= result.tolerance).all())
    assert_close(result.output_logit, own, sum_size(result), subject.eps, "log p")
    assert_close(result.sum_positions().output_logit, own.sum(-1), sum_size(result).sum(-1), subject.eps, "their sum")
    if subject.name != "granite-biases":
        assert_close(result.total + result.constant, own, sum_size(result), subject.eps, "rows and constant")


@pytest.mark.parametrize("subject", [GPT2, LLAMA, pytest.param(HOOKED_LN, marks=needs_hooked_transformer)], ids=str)
def test_each_token_has_the_rows_of_its_log_probability_asked_alone(subject: TinyModel) -> None:
    prompts, answers = some_tokens(2), some_ids(2, 2, 3)
    attributor = dla.Attributor(subject.model(), HEADS)
    result = attributor.attribute(prompts, dla.Continuation(answers))
    for i in range(3):
        alone = attributor.attribute(torch.cat([prompts, answers[:, :i]], 1), dla.LogProbability(answers[:, i]))
        allowed = 4 * subject.eps * sum_size(alone)
        assert bool(((result.values[..., i] - alone.values).abs().sum(0) <= allowed).all())


def test_two_continuations_are_compared_token_by_token() -> None:
    prompts, answers, others = some_tokens(3), some_ids(3, 2, 3), some_ids(4, 2, 3)
    attributor = dla.Attributor(GPT2.model(), HEADS)
    result = attributor.attribute(prompts, dla.Continuation(answers, others))
    whole = torch.cat([prompts, answers], 1)
    pos = list(range(prompts.shape[1] - 1, whole.shape[1] - 1))
    assert_attributions_equal(result, attributor.attribute(whole, dla.LogitDifference(answers, others), pos=pos))
    assert result.provenance.direction.endswith("token by token")


def test_texts_of_unequal_lengths_are_each_as_they_are_alone() -> None:
    prompts, answers = [PROMPT, LONGER, "Tom and Amy"], [" Mary and John", " Rose", " found a"]
    together = demo(prompts, dla.Continuation(answers))
    assert together.positions.tolist() == [[14, 15, 16], [15, -1, -1], [3, 4, -1]]
    for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids = DEMO.to_tokens(prompt + answer)[0]
        alone = demo(prompt, dla.Continuation(answer))
        n = alone.logit.shape[1]
        torch.testing.assert_close(together.values[:, i, :n], alone.values[:, 0], rtol=0, atol=1e-4)
        torch.testing.assert_close(
            alone.logit[0].double(), log_probabilities(DEMO, ids, n), rtol=0, atol=float(alone.tolerance.max())
        )
        assert bool(together.logit[i, n:].isnan().all())
        assert float(together.sum_positions().logit[i]) == pytest.approx(float(alone.logit.sum()), abs=1e-4)


def test_prompts_in_other_forms_are_the_same_question() -> None:
    text = demo(PROMPT, dla.Continuation(" Mary and"))
    ids = DEMO.to_tokens(PROMPT + " Mary and")[0]
    for prompts, answer in (
        (ids[:-2], " Mary and"),
        (PROMPT, ids[-2:]),
        ([PROMPT], [ids[-2:].tolist()]),
        (ids[None, :-2].tolist(), [" Mary and"]),
    ):
        assert_attributions_equal(demo(prompts, dla.Continuation(answer)), text)
    _, cache = DEMO.run_with_cache(ids[None])
    cached = demo(PROMPT, dla.Continuation(" Mary and"), cache=cache)
    torch.testing.assert_close(cached.values, text.values, rtol=0, atol=1e-4)
    without = demo(PROMPT, dla.Continuation(" Mary"), prepend_bos=False)
    assert without.tokens[0][0] == "When"
    assert int(without.positions) == 13


def test_what_is_printed_of_an_answer_is_its_sum() -> None:
    result = demo(PROMPT, dla.Continuation(" Mary and John"))
    summed = result.sum_positions()
    title = "log-probability of ' Mary and John', HeadDecomposer, sum over 3 tokens"
    assert " ".join(str(result).split("┏")[0].split()) == title
    assert result.top(3) == [(label, pytest.approx(value)) for label, value in summed.top(3)]
    assert float(summed.logit) == pytest.approx(float(result.logit.sum()))
    assert bool((summed.gap.abs() <= summed.tolerance).all())
    other = demo([PROMPT, LONGER], dla.Continuation([" Mary and", " Rose"]))
    means = dict(other.top(200))
    assert means["L1H1"] == pytest.approx(float(other.select("L1H1").values.nansum(-1).mean()))


def test_the_answer_is_looked_at_closer_like_any_other(tmp_path: Any) -> None:
    result = demo(PROMPT, dla.Continuation(" Mary and John"))
    finer = result.refine("L1H1", by=dla.SourceDecomposer())
    rows = finer.select(where=lambda label: "L1H1" in map(str, label.path())).values.sum(0)
    torch.testing.assert_close(rows, result.select("L1H1").values[0], rtol=0, atol=1e-4)
    assert result.trace("L1H1", by=HEADS).logit.shape == (1, result.tokens and len(result.tokens[0]))
    assert "L1H1" in str(result.effects(["L1H1"]))
    assert "L1H1" in str(result.direct_effects())
    traced = result.trace_back(pos=14)
    assert float(traced.logit) == pytest.approx(float(result.logit[0, 0]), abs=1e-4)
    result.save(tmp_path / "x.nc")
    again = dla.load(tmp_path / "x.nc")
    assert again.provenance.summed
    assert str(again) == str(result)
    with pytest.raises(ValueError, match=r"^refine runs the model again, and this is a sum over positions\. Ask"):
        result.sum_positions().refine("L1H1", by=dla.SourceDecomposer())
    with pytest.raises(ValueError, match=r"^The result is about one position of each prompt; there is nothing to sum"):
        result.sum_positions().sum_positions()


WRONG = {
    "empty": (PROMPT, lambda: dla.Continuation(""), r"^The continuation is empty \(''\)\. Pass at least one token"),
    "one empty": (
        [PROMPT, LONGER],
        lambda: dla.Continuation([" Mary", ""]),
        r"^The continuation of prompt 1 is empty \(''\)",
    ),
    "no list": (PROMPT, lambda: dla.Continuation([]), r"^No continuation was given: the list is empty"),
    "a list of ids": (
        PROMPT,
        lambda: dla.Continuation([5, 6]),
        r"^The continuation \[5, 6\] is a list of ids, which could be one continuation or one token for each prompt\.",
    ),
    "three axes": (PROMPT, lambda: dla.Continuation(torch.ones(1, 1, 2).long()), r"have shape \[1, 1, 2\]\. Pass \["),
    "too many": (
        PROMPT,
        lambda: dla.Continuation([" Mary", " John"]),
        r"^There are 2 continuations and 1 prompts\. Pass one continuation for all prompts, or one for each\.",
    ),
    "other lengths": (
        PROMPT,
        lambda: dla.Continuation(" Mary and", " John"),
        r"^The two continuations of prompt 0 are 2 tokens \('Mary', 'and'\) and 1 tokens \('John'\); a difference of ",
    ),
    "unknown": (
        PROMPT,
        lambda: dla.Continuation(" Mary Poppins"),
        r"^The continuation ' Mary Poppins' holds a word that is not in the model's vocabulary \(it becomes '<unk>'\)",
    ),
    "outside": (PROMPT, lambda: dla.Continuation(torch.tensor([10**6])), r"^Token id 1000000 of the continuation is "),
    "joined": (
        PROMPT,
        lambda: dla.Continuation("wards the house"),
        r"^The continuation 'wards the house' changes the tokens of prompt 0, .*: alone it is \.\.\., 'a', 'drink', "
        r"'to', and together they are .*Let the continuation begin where a token begins, mostly with a space, or pass",
    ),
    "no prompt": (
        None,
        lambda: dla.Continuation(" Mary"),
        r"^A continuation goes on from a prompt, and none was",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_continuation_is_explained(case: str) -> None:
    prompts, make, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        demo(prompts, make())


def test_arguments_that_do_not_fit_are_explained() -> None:
    answer = dla.Continuation(" Mary and")
    with pytest.raises(ValueError, match=r"^pos=None: a Continuation is asked at the tokens of the answer\. Leave pos"):
        demo(PROMPT, answer, pos=None)
    with pytest.raises(TypeError, match=r"^A Continuation says itself where it is asked\. Ask for it alone"):
        demo(PROMPT, [answer])
    with pytest.raises(TypeError, match=r"^A Continuation is asked alone, and says itself where"):
        dla.Attributor(DEMO, HEADS).explain_gap(PROMPT, answer)  # type: ignore[arg-type]  # as a user may
    with pytest.raises(TypeError, match=r"^The continuation is None\. Pass a text, a list of texts, or ids\."):
        dla.Continuation(None)  # type: ignore[arg-type]  # as a user may
    with pytest.raises(TypeError, match=r"^The continuation of prompt 0 is \[5, 'a'\]\. Pass a text, or a list of ids"):
        dla.Continuation([[5, "a"]])  # type: ignore[list-item]  # as a user may


def test_a_logit_of_several_tokens_names_the_continuation() -> None:
    with pytest.raises(ValueError, match=r"a logit belongs to one token\..*ask dla\.Continuation\(' Mary and'\)\.$"):
        demo(PROMPT, dla.Logit(" Mary and"))
