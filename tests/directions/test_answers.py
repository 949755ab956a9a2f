"""Directions beyond one token: probabilities, the whole vocabulary, several at once, places within the model."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from subjects import (
    DECOMPOSERS,
    GPT2,
    LLAMA,
    any_decomposer,
    any_of_a_few,
    as_given,
    cached,
    each_of_a_few,
    some_ids,
    some_tokens,
)

import dla
from dla.testing import TinyModel, assert_attributions_equal
from dla.testing.assertions import assert_close
from dla.testing.laws.compare import sum_size

HEADS = dla.HeadDecomposer()


def attribute(direction: Any, subject: TinyModel = GPT2, decomposer: dla.Decomposer = HEADS, **options: Any) -> Any:
    return dla.Attributor(subject.model(), decomposer).attribute(some_tokens(1), direction, **options)


@each_of_a_few
def test_the_rows_of_a_log_probability_add_up_to_it_plus_the_entropy(subject: TinyModel) -> None:
    logits, ids = subject.logits(some_tokens(1)), some_ids(1, 2, 6)
    result = attribute(dla.LogProbability(ids), subject, pos=None)
    assert bool((result.gap.abs() <= result.tolerance).all())
    if as_given(subject, logits):
        logs = logits.double().log_softmax(-1)
        expected = logs.gather(-1, ids[..., None])[..., 0] - (logs.exp() * logs).sum(-1)
        assert_close(result.total + result.constant, expected, sum_size(result), subject.eps, "log p + H")


def test_the_difference_of_two_log_probabilities_is_the_logit_difference() -> None:
    difference = attribute(dla.LogProbability(5) - dla.LogProbability(9))
    assert_attributions_equal(difference, attribute(dla.LogitDifference(5, 9)), eps=4 * GPT2.eps)


@each_of_a_few
def test_a_centred_logit_lacks_what_all_tokens_share(subject: TinyModel) -> None:
    result, logits = attribute(dla.CentredLogit(5), subject, pos=None), subject.logits(some_tokens(1)).double()
    if as_given(subject, logits):
        expected = logits[..., 5] - logits.mean(-1)
        assert_close(result.total + result.constant, expected, sum_size(result), subject.eps, "the centred logit")


def test_weighted_sets_are_weighted_sums() -> None:
    weighted = attribute(dla.LogitSet([5, 7, 9], [0.5, -2.0, 1.0]))
    assert_attributions_equal(weighted, attribute(0.5 * dla.Logit(5) - 2.0 * dla.Logit(7) + dla.Logit(9)), eps=GPT2.eps)
    with pytest.raises(ValueError, match="LogitSet got 3 tokens and 1 weights; pass one weight per token"):
        dla.LogitSet([5, 7, 9], [1.0])


@given(any_of_a_few, any_decomposer, st.integers(0, 3))
def test_several_directions_are_each_alone(subject: TinyModel, decomposer: dla.Decomposer, seed: int) -> None:
    ids = some_ids(seed, 2)
    asked = {"a": dla.Logit(5), "b": dla.LogitDifference(ids, 7), "sum": dla.Logit(5) + dla.LogitDifference(ids, 7)}
    together = attribute(asked, subject, decomposer, pos=None)
    assert together.directions == ["a", "b", "sum"]
    assert together.values.shape[1:] == (3, 2, 6)
    for name, direction in asked.items():
        assert_attributions_equal(
            together.direction(name), attribute(direction, subject, decomposer, pos=None), eps=subject.eps
        )
    a, b, both = together.values.unbind(1)
    assert_close(a + b, both, sum_size(together).sum(0), subject.eps, "linear in the direction")


def test_the_models_own_top_tokens_are_an_axis() -> None:
    logits = GPT2.logits(some_tokens(1))
    result = attribute(dla.TopTokens(3), pos=None)
    assert result.directions == ["top 1", "top 2", "top 3"]
    expected = logits.topk(3).values.movedim(-1, 0)
    assert_close(result.logit, expected, expected.abs() + 1, GPT2.eps, "logits")
    one = dla.Attributor(GPT2.model(), HEADS).attribute("Mary John gave", dla.TopTokens(2))
    assert len(set(one.directions)) == 2
    assert "top 1" not in one.directions
    for k, message in ((0, "ask for at least one token"), (10**6, r"the vocabulary has \d+ tokens\. Ask for fewer")):
        with pytest.raises(ValueError, match=message):
            attribute(dla.TopTokens(k))


@pytest.mark.parametrize("direction", [dla.TopTokens(2), dla.LogProbability(5)], ids=lambda d: type(d).__name__)
def test_answers_come_from_a_cache_as_from_a_run(direction: Any) -> None:
    model, tokens = GPT2.model(), some_tokens(1)
    result = dla.Attributor(model, HEADS).attribute(tokens, direction, cache=cached(model, tokens))
    assert_attributions_equal(result, attribute(direction), eps=4 * GPT2.eps)


PLACES = ("blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post")


@each_of_a_few
@pytest.mark.parametrize("decomposer", DECOMPOSERS, ids=lambda d: type(d).__name__)
def test_what_wrote_to_a_probe_within_the_model(subject: TinyModel, decomposer: dla.Decomposer) -> None:
    model, tokens = subject.model(), some_tokens(1)
    vector, cache = torch.randn(model.cfg.d_model), cached(model, tokens)
    places = PLACES[1:] if isinstance(decomposer, dla.GroupDecomposer) else PLACES  # its group is block 0
    for at in [*places, *(["blocks.1.hook_resid_mid"] if subject.name in ("gpt2", "llama", "ln") else [])]:
        result = attribute(dla.ResidualVector(vector, at=at), subject, decomposer, pos=None)
        expected = cache[at].double() @ vector.double()
        size = sum_size(result) + cache[at].abs() @ vector.abs()
        assert_close(result.logit, expected, size, subject.eps, at)
        assert_close(result.total, expected, size, subject.eps, at)
        assert bool((result.constant == 0).all())
        layer = int(at.split(".")[1])
        assert all((part.layer or 0) <= layer for part in result.parts)


def test_places_that_are_none() -> None:
    vector = torch.randn(LLAMA.model().cfg.d_model)
    with pytest.raises(ValueError, match=r"no residual stream at 'blocks\.7\.hook_resid_post' in this model of 2"):
        attribute(dla.ResidualVector(vector, at="blocks.7.hook_resid_post"), LLAMA)
    mixed = dla.ResidualVector(vector, at="blocks.0.hook_resid_post") + dla.Logit(5)
    with pytest.raises(ValueError, match=r"reads 'blocks\.0\.hook_resid_post' and another the final norm's output"):
        attribute(mixed, LLAMA)


@pytest.mark.parametrize(
    ("directions", "message"),
    [
        ({}, r"No direction was given\. Pass at least one"),
        ([dla.Logit(5), dla.Logit(5)], r"Two directions are called 'logit of 5'\. Pass a dict"),
    ],
)
def test_several_directions_that_are_none(directions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attribute(directions)


def test_several_directions_are_looked_at_one_by_one(tmp_path: Any) -> None:
    result = attribute([dla.Logit(5), dla.Logit(7)])
    with pytest.raises(ValueError, match=r"one direction at a time: result\.direction\('logit of 5'\)"):
        result.top(3)
    with pytest.raises(ValueError, match=r"no direction 'x'; there are \['logit of 5', 'logit of 7'\]"):
        result.direction("x")
    assert str(result).count("the model's own logit") == 2
    assert result._repr_html_().count("<table>") == 2
    result.save(tmp_path / "two.nc")
    again = dla.load(tmp_path / "two.nc")
    assert again.directions == result.directions
    assert_attributions_equal(again.direction("logit of 7"), attribute(dla.Logit(7)), eps=GPT2.eps)
    assert set(result.to_dataframe().direction) == {"logit of 5", "logit of 7"}
