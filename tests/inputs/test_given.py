"""What users hand over besides prompts: taken where it is clear, told in a sentence where it is not."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from subjects import GPT2, some_tokens
from torch import Tensor

import dla
from dla.testing import assert_attributions_equal

HEADS = dla.HeadDecomposer()
TOKENS = some_tokens(1)
D = dla.LogitDifference(5, 9)


def attribute(direction: Any, **options: Any) -> dla.Attribution:
    return dla.Attributor(GPT2.model(), HEADS).attribute(TOKENS, direction, **options)


def assert_same(direction: Any, expected: dla.Direction | dict[str, Any], **options: Any) -> None:
    assert_attributions_equal(attribute(direction, **options), attribute(expected, **options), eps=GPT2.eps)


MARY = GPT2.model().to_single_token(" Mary")
CLEAR: list[tuple[Any, Any]] = [
    (" Mary", dla.Logit(MARY)),
    (np.str_(" Mary"), dla.Logit(MARY)),
    (MARY, dla.Logit(MARY)),
    (np.int64(MARY), dla.Logit(MARY)),
    (torch.tensor(MARY), dla.Logit(MARY)),
    ({"a": " Mary", "b": np.int32(9), "c": D}, {"a": dla.Logit(MARY), "b": dla.Logit(9), "c": D}),
    (dla.Logit(np.int64(9)), dla.Logit(9)),
    (dla.Logit(np.array(9)), dla.Logit(9)),
    (dla.Logit(np.str_(" Mary")), dla.Logit(MARY)),
    (dla.Logit(pd.Series([" Mary", 9], index=[5, 6])), dla.Logit([" Mary", 9])),
    (dla.Logit(np.array([5, 9])), dla.Logit([5, 9])),
    (dla.Logit(np.array([" Mary", " John"])), dla.Logit([" Mary", " John"])),
    (dla.Logit((5, np.int64(9))), dla.Logit([5, 9])),
    (dla.Logit([torch.tensor(5), torch.tensor(9)]), dla.Logit([5, 9])),
    (dla.Logit(np.array([[5], [9]])), dla.Logit(torch.tensor([[5], [9]]))),
    (dla.LogitDifference(np.array([5, 9]), pd.Series([7, 8])), dla.LogitDifference([5, 9], [7, 8])),
    (dla.CentredLogit(np.array([5, 9])), dla.CentredLogit([5, 9])),
    (dla.LogProbability(np.int64(5)), dla.LogProbability(5)),
    (dla.TopTokens(np.int64(2)), dla.TopTokens(2)),
    (dla.LogitSet(np.array([5, 9]), np.array([0.5, 2])), dla.LogitSet([5, 9], [0.5, 2])),
    (dla.LogitSet(torch.tensor([5, 9]), torch.tensor([0.5, 2])), dla.LogitSet([5, 9], [0.5, 2.0])),
    (dla.ResidualVector(np.arange(32)), dla.ResidualVector(torch.arange(32.0))),
    (dla.ResidualVector(list(range(32))), dla.ResidualVector(torch.arange(32.0))),
    (sum([D, dla.Logit(7), D]), 2 * D + dla.Logit(7)),
    (np.float32(0.5) * D, 0.5 * D),
    (torch.tensor(0.5) * D, 0.5 * D),
]


@pytest.mark.parametrize(("given", "plain"), CLEAR, ids=lambda value: type(value).__name__)
def test_what_is_clear_is_taken(given: Any, plain: Any) -> None:
    expected = attribute(plain, pos=[3]) if isinstance(given, dla.Logit) else attribute(plain)
    found = attribute(given, pos=[3]) if isinstance(given, dla.Logit) else attribute(given)
    torch.testing.assert_close(found.values, expected.values, rtol=1e-5, atol=1e-5)


UNCLEAR: dict[str, tuple[Any, type[Exception], str]] = {
    "a truth": (True, TypeError, r"The direction is True\. Pass an instance, such as dla\.Logit\(' Mary'\)\."),
    "a number": (2.5, TypeError, r"The direction is 2\.5\."),
    "bytes": (b" Mary", TypeError, r"The direction is b' Mary'\."),
    "nothing": (None, TypeError, r"The direction is None\."),
    "a class": (dla.Logit, TypeError, r"The direction is the class Logit\. Pass an instance"),
    "a class of several": (dla.TopTokens, TypeError, r"The direction is the class TopTokens\."),
    "a decomposer": (HEADS, TypeError, r"The direction is HeadDecomposer\("),
    "a model": (GPT2.model(), TypeError, r"The direction is a TransformerBridge\."),
    "a tensor": (torch.ones(3), TypeError, r"The direction is a Tensor of shape \[3\] and dtype torch\.float32\."),
    "tokens": (
        [" Mary", " John"],
        TypeError,
        r"hold the token ' Mary'\. Pass dla\.Logit with the list for one per prompt",
    ),
    "a token beside": ([D, 9], TypeError, r"hold the token 9\."),
    "several among others": (
        [D, dla.TopTokens(2)],
        TypeError,
        r"TopTokens is several directions itself\. Ask for it alone",
    ),
    "a name that is none": ({3: D}, TypeError, r"is called 3\. Pass a text as its name"),
    "a value that is none": ({"a": None}, TypeError, r"None is not a direction\. Pass an instance"),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_what_is_unclear_is_told_in_a_sentence(case: str) -> None:
    direction, error, message = UNCLEAR[case]
    with pytest.raises(error, match=message) as caught:
        attribute(direction)
    assert len(str(caught.value)) < 200


NO_TOKEN = r" is not a token\. Pass its text, such as ' Mary', or its id, a whole number\.$"
MADE: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a truth": (lambda: dla.Logit(True), TypeError, "^True" + NO_TOKEN),
    "a float": (lambda: dla.CentredLogit(3.0), TypeError, r"^3\.0" + NO_TOKEN),
    "nothing": (lambda: dla.LogProbability(None), TypeError, "^None" + NO_TOKEN),
    "bytes": (lambda: dla.LogitDifference(5, b"a"), TypeError, "^b'a'" + NO_TOKEN),
    "a float in a list": (lambda: dla.Logit([5, 1.5]), TypeError, r"^1\.5" + NO_TOKEN),
    "a set": (lambda: dla.Logit({5}), TypeError, r"^\{5\}" + NO_TOKEN),
    "no tokens": (lambda: dla.Logit([]), ValueError, r"No token was given: \[\]\. Pass one, or one for each prompt"),
    "an empty tensor": (lambda: dla.Logit(torch.ones(0).long()), ValueError, r"token tensor is empty, of shape \(0,\)"),
    "an array of floats": (
        lambda: dla.Logit(np.ones(2)),
        TypeError,
        r"must be integers; the array has dtype float64\. Pass `ids\.astype\(int\)`",
    ),
    "lists of ids": (
        lambda: dla.LogitDifference([[5, 7], [9, 8]], [1, 2]),
        ValueError,
        r"lists in a list, which could be several tokens per prompt or one per position\. Pass a tensor of ids",
    ),
    "no set": (lambda: dla.LogitSet(5), ValueError, r"LogitSet wants a list of at least one token, not 5"),
    "an empty set": (
        lambda: dla.LogitSet([[5], []]),
        ValueError,
        r"at least one token for each prompt, and one has \[\]",
    ),
    "a token that is none": (lambda: dla.LogitSet([5, None]), TypeError, "^None" + NO_TOKEN),
    "a weight that is none": (
        lambda: dla.LogitSet([5], ["a"]),
        TypeError,
        r"'a' is given as a weight, and is not a number",
    ),
    "a weight of NaN": (lambda: dla.LogitSet([5], [np.nan]), ValueError, r"nan is given as a weight\. Pass a finite"),
    "weights that are none": (
        lambda: dla.LogitSet([5], 3),
        ValueError,
        r"LogitSet got 3 as weights; pass one weight per t",
    ),
    "weights of fewer prompts": (
        lambda: dla.LogitSet([[5], [7]], [[1]]),
        ValueError,
        r"LogitSet got \[\[1\]\] as weights",
    ),
    "fewer weights": (lambda: dla.LogitSet([[5, 6], [7]], [1, 2]), ValueError, r"LogitSet got 1 tokens and 2 weights"),
    "how many as text": (lambda: dla.TopTokens("3"), TypeError, r"TopTokens: k='3' is not a whole number"),
    "how many as truth": (lambda: dla.TopTokens(True), TypeError, r"TopTokens: k=True is not a whole number"),
    "a vector of text": (
        lambda: dla.ResidualVector(" Mary"),
        TypeError,
        r"The vector is ' Mary'\. Pass a tensor of numbers",
    ),
    "a vector of truths": (lambda: dla.ResidualVector(torch.ones(3).bool()), TypeError, r"has dtype torch\.bool"),
    "a vector without an axis": (
        lambda: dla.ResidualVector(torch.tensor(1.0)),
        ValueError,
        r"is the single number tensor",
    ),
    "a vector of NaN": (lambda: dla.ResidualVector([1.0, np.nan]), ValueError, r"infinite or NaN\. Pass finite ones"),
    "a place that is none": (
        lambda: dla.ResidualVector(torch.ones(3), at=3),
        TypeError,
        r"at=3; pass the hook name of a",
    ),
    "a number added": (
        lambda: D + 3,
        TypeError,
        r"^\+: 3 is not a direction\. Pass one, such as dla\.Logit\(' Mary'\)",
    ),
    "added to a number": (lambda: 3 + D, TypeError, r"3 is not a direction"),
    "a token subtracted": (lambda: D - " Mary", TypeError, r"^-: ' Mary' is not a direction"),
    "a factor that is none": (lambda: D * "2", TypeError, r"'2' is given as a factor, and is not a number"),
    "a direction as factor": (lambda: D * D, TypeError, r"given as a factor, and is not a number"),
    "an infinite factor": (lambda: float("inf") * D, ValueError, r"inf is given as a factor\. Pass a finite number"),
    "a mean of tokens": (lambda: dla.mean([D, " Mary"]), TypeError, r"mean: ' Mary' is not a direction"),
    "a mean of one": (lambda: dla.mean(D), TypeError, r"mean wants a list of directions, not LogitDifference"),
}


@pytest.mark.parametrize("case", MADE)
def test_directions_that_cannot_be_made(case: str) -> None:
    make, error, message = MADE[case]
    with pytest.raises(error, match=message) as caught:
        make()
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("case", ["a model", "a class"])
def test_a_decomposer_that_is_none_is_named_in_a_word(case: str) -> None:
    given = {"a model": GPT2.model(), "a class": dla.HeadDecomposer}[case]
    named = {"a model": "a TransformerBridge", "a class": "the class HeadDecomposer"}[case]
    with pytest.raises(
        TypeError, match=rf"^{named} is not a Decomposer\. Pass an instance, such as HeadDecomposer\(\)"
    ):
        inspect.unwrap(dla.Attributor.__init__)(object.__new__(dla.Attributor), GPT2.model(), given)


def test_a_gap_is_explained_for_one_direction() -> None:
    attributor = dla.Attributor(GPT2.model(), HEADS)
    with pytest.raises(TypeError, match=r"explained for one direction at a time, and several were given"):
        attributor.explain_gap(TOKENS, [D, dla.Logit(7)])
    padded = torch.nn.functional.pad(TOKENS, (0, 1), value=2)
    told = attributor.explain_gap(padded, MARY, attention_mask=(padded != 2))
    assert str(told) == str(attributor.explain_gap(TOKENS, dla.Logit(MARY)))


def test_rankings() -> None:
    result = attribute(D)
    for rank in (dla.Attribution.top, dla.Attribution.bottom):
        with pytest.raises(ValueError, match=r"by='absolute'; pass 'value' or 'abs'\."):
            rank(result, 3, by="absolute")
        with pytest.raises(ValueError, match=r"k=-1: ask for at least 0 parts\."):
            rank(result, -1)
        for k in ("3", 1.5, True, None):
            with pytest.raises(TypeError, match=r"k=.* is not a whole number\. Pass how many, such as 5\."):
                rank(result, k)
        assert rank(result, np.int64(2)) == rank(result, 2)


def test_a_set_for_each_prompt() -> None:
    sets = [[5, " Mary"], [7, 9, 11]]
    own = GPT2.logits(TOKENS)[:, -1].double()
    result = attribute(dla.LogitSet(sets))
    expected = torch.stack([own[0, [5, MARY]].mean(), own[1, [7, 9, 11]].mean()])
    torch.testing.assert_close(result.logit.double(), expected, rtol=1e-5, atol=1e-5)
    assert result.provenance.direction == "mean logit of a set for each of 2 prompts"
    for i, tokens in enumerate(sets):
        alone = attribute(dla.LogitSet(tokens))
        torch.testing.assert_close(result.values[:, i], alone.values[:, i], rtol=1e-4, atol=1e-5)
    weighted = attribute(dla.LogitSet([[5, 7], [9, 5]], [[1, -1], [0.5, 2]]))
    expected = torch.stack([own[0, 5] - own[0, 7], 0.5 * own[1, 9] + 2 * own[1, 5]])
    torch.testing.assert_close(weighted.logit.double(), expected, rtol=1e-5, atol=1e-5)
    alike = attribute(dla.LogitSet([[5, 7], [9, 5]], [1, -1]))
    torch.testing.assert_close(alike.logit, attribute(dla.LogitDifference([5, 9], [7, 5])).logit)
    twice = attribute(dla.LogitSet([[5, 5], [9, 9, 9]]))
    torch.testing.assert_close(twice.logit, attribute(dla.Logit([5, 9])).logit)
    with pytest.raises(ValueError, match=r"LogitSet has tokens for 3 prompts, and there are 2\. Pass a list of tokens"):
        attribute(dla.LogitSet([[5], [7], [9]]))


DIRECTIONS = (
    dla.LogitSet([5, 7, 9]),
    dla.LogitSet([5, 7], [0.1, 0.7]),
    D * 0.3,
    dla.mean([dla.Logit(t) for t in (5, 7, 9)]),
)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_the_default_dtype_plays_no_part(dtype: torch.dtype) -> None:
    made = [dla.CentredLogit(5), dla.LogitSet([[5, 7], [9]]), *DIRECTIONS]
    expected = [attribute(direction).values for direction in made]
    torch.set_default_dtype(dtype)
    try:
        found = [attribute(direction).values for direction in made]
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_the_default_device_plays_no_part() -> None:
    """The meta device holds no numbers, so whatever were made on it could not be used."""
    asked = {"a": dla.CentredLogit(5), "b": dla.LogitSet([[5, 7], [9]]), "c": dla.LogitDifference([5, 9], 7)}
    model, expected = GPT2.fresh(), attribute(asked, pos=[0, 3]).values
    torch.set_default_device("meta")
    try:
        found = dla.Attributor(model, HEADS).attribute(TOKENS, asked, pos=[0, 3]).values
    finally:
        torch.set_default_device("cpu")
    assert torch.equal(found, expected)


def test_a_vector_in_half_precision_is_scaled_in_single() -> None:
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0)).bfloat16()
    third = attribute(dla.ResidualVector(vector) * (1 / 3) + dla.Logit(5))
    torch.testing.assert_close(third.logit, attribute(dla.ResidualVector(vector.float() / 3) + dla.Logit(5)).logit)


def test_autocast_is_left_or_plays_no_part() -> None:
    tokens = TOKENS
    model = GPT2.fresh()
    with torch.no_grad():
        cache = model.run_with_cache(tokens)[1]
    expected = attribute(D)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        attributor = dla.Attributor(model, HEADS)
        for run in (attributor.attribute, attributor.explain_gap):
            with pytest.raises(
                ValueError, match=r"torch\.autocast is on and rounds .* to bfloat16.* Leave the autocast"
            ):
                run(tokens, D)
        with pytest.raises(ValueError, match=r"torch\.autocast is on"):
            expected.refine("L0H0", by=dla.SourceDecomposer())
        with pytest.raises(ValueError, match=r"torch\.autocast is on"):
            expected.part("L0H0").top_tokens(3)
        cached = attributor.attribute(tokens, dla.LogProbability(5), cache=cache)
    for given in (cached, attributor.attribute(tokens, dla.LogProbability(5))):
        assert_attributions_equal(given, attribute(dla.LogProbability(5)), eps=4 * GPT2.eps)


def test_one_call_form_takes_what_the_attributor_takes() -> None:
    model = dla.testing.models.architecture("gpt2").bridge("compatibility")
    ids: Tensor = some_tokens(3, 2, 5)

    def values(*given: Any, **options: Any) -> Tensor:
        return dla.direct_logit_attribution(model, *given, **options).attribution

    expected = values(ids, torch.tensor([5, 9]), torch.tensor([7, 8]))
    assert torch.equal(values(ids.tolist(), np.array([5, 9]), np.array([7, 8])), expected)
    assert torch.equal(values({"input_ids": ids}, [5, 9], [7, 8], pos=np.int64(-1)), expected)
    alone = values(ids[0], torch.arange(5), pos=None)
    assert torch.equal(values(ids[0].tolist(), np.arange(5), pos=None), alone)
    with pytest.raises(ValueError, match=r"pos=\(1, 2, 3, 4\): a tuple is the start and the stop of a slice"):
        values(ids, 5, pos=(1, 2, 3, 4))
    with pytest.raises(TypeError, match=r"The prompts are 7\."):
        values(7, 5)
    with pytest.raises(TypeError, match="^True" + NO_TOKEN):
        values(ids, True)
