"""Directions are linear, and say what they read; whatever decomposition is asked."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from subjects import GPT2, LLAMA, any_decomposer, any_of_a_few, each_decomposer, each_of_a_few, some_ids, some_tokens
from torch import Tensor

import dla
from dla.testing import TinyModel, assert_attributions_equal, assert_reconstructs
from dla.testing.assertions import assert_close
from dla.testing.laws.compare import sum_size
from dla.testing.models import PROMPT, VOCABULARY_SIZE

ids = st.integers(0, VOCABULARY_SIZE - 1)
factors = st.floats(-4.0, 4.0).filter(lambda factor: abs(factor) > 1e-2)
positions = st.sampled_from([-1, 0, None, [1, 3], slice(2, 5)])


def attribution(
    subject: TinyModel, decomposer: dla.Decomposer, direction: dla.Direction, pos: object = -1
) -> dla.Attribution:
    return dla.Attributor(subject.model(), decomposer).attribute(some_tokens(5), direction, pos=pos)


def numbers(result: dla.Attribution) -> Tensor:
    """All that is linear in the direction."""
    return torch.cat([result.values, *(t[None] for t in (result.total, result.constant, result.logit))])


@given(subject=any_of_a_few, decomposer=any_decomposer, first=ids, second=ids, factor=factors, pos=positions)
def test_attributions_are_linear_in_the_direction(
    subject: TinyModel, decomposer: dla.Decomposer, first: int, second: int, factor: float, pos: object
) -> None:
    a, b = dla.Logit(first), dla.Logit(second)
    of_a, of_b = (attribution(subject, decomposer, direction, pos) for direction in (a, b))
    size = (sum_size(of_a) + sum_size(of_b)) * (1 + abs(factor))
    for combined, expected in (
        (a + b, numbers(of_a) + numbers(of_b)),
        (a - b, numbers(of_a) - numbers(of_b)),
        (-a, -numbers(of_a)),
        (factor * a, factor * numbers(of_a)),
        (a * factor + b, factor * numbers(of_a) + numbers(of_b)),
    ):
        assert_close(numbers(attribution(subject, decomposer, combined, pos)), expected, size, subject.eps)


@given(subject=any_of_a_few, decomposer=any_decomposer, first=ids, second=ids, pos=positions)
def test_a_difference_is_one_logit_minus_the_other_and_swapping_flips_every_sign(
    subject: TinyModel, decomposer: dla.Decomposer, first: int, second: int, pos: object
) -> None:
    difference = attribution(subject, decomposer, dla.LogitDifference(first, second), pos)
    swapped = attribution(subject, decomposer, dla.LogitDifference(second, first), pos)
    apart = attribution(subject, decomposer, dla.Logit(first) - dla.Logit(second), pos)
    size = sum_size(attribution(subject, decomposer, dla.Logit(first), pos)) + sum_size(difference)
    assert_close(numbers(swapped), -numbers(difference), size, subject.eps)
    assert_close(numbers(apart), numbers(difference), size, subject.eps)


@given(subject=any_of_a_few, decomposer=any_decomposer, tokens=st.lists(ids, min_size=1, max_size=4), pos=positions)
def test_a_set_is_the_mean_of_its_logits(
    subject: TinyModel, decomposer: dla.Decomposer, tokens: list[int], pos: object
) -> None:
    each = [attribution(subject, decomposer, dla.Logit(token), pos) for token in tokens]
    expected = torch.stack([numbers(result) for result in each]).mean(0)
    size = torch.stack([sum_size(result) for result in each]).sum(0)
    for direction in (dla.LogitSet(tokens), dla.mean([dla.Logit(token) for token in tokens])):
        assert_close(numbers(attribution(subject, decomposer, direction, pos)), expected, size, subject.eps)


@each_of_a_few
@each_decomposer
def test_a_token_for_each_prompt_and_position_is_asked_there_and_nowhere_else(
    subject: TinyModel, decomposer: dla.Decomposer
) -> None:
    answers, others = some_ids(1, 2, 6), some_ids(2, 2, 6)
    everywhere = attribution(subject, decomposer, dla.LogitDifference(answers, others), None)
    per_prompt = attribution(subject, decomposer, dla.LogitDifference(answers[:, 4], others[:, 4]), 4)
    for row in range(2):
        one = dla.LogitDifference(int(answers[row, 4]), int(others[row, 4]))
        alone = numbers(attribution(subject, decomposer, one, 4))[:, row]
        size = sum_size(everywhere).max()
        assert_close(numbers(per_prompt)[:, row], alone, size, subject.eps)
        assert_close(numbers(everywhere)[:, row, 4], alone, size, subject.eps)


@each_of_a_few
def test_one_token_against_one_a_prompt(subject: TinyModel) -> None:
    many = torch.tensor([8, 8])
    mixed = attribution(subject, dla.ComponentDecomposer(), dla.LogitDifference(5, many))
    assert_attributions_equal(
        mixed, attribution(subject, dla.ComponentDecomposer(), dla.LogitDifference(5, 8)), eps=subject.eps
    )


@each_of_a_few
def test_next_token_is_the_logit_of_what_follows(subject: TinyModel) -> None:
    tokens = some_tokens(5)
    own = subject.logits(tokens)
    following = attribution(subject, dla.HeadDecomposer(), dla.NextToken(), slice(None, -1))
    asked = attribution(subject, dla.HeadDecomposer(), dla.Logit(tokens[:, 1:]), slice(None, -1))
    assert_attributions_equal(following, asked, eps=subject.eps)
    expected = own[:, :-1].gather(-1, tokens[:, 1:, None]).squeeze(-1)
    assert_close(following.output_logit, expected, sum_size(following), subject.eps)


@each_of_a_few
def test_a_column_of_the_unembedding_is_that_tokens_logit_without_its_bias(subject: TinyModel) -> None:
    unembed = subject.model().unembed
    column = unembed.W_U[:, 11].detach()
    vector = attribution(subject, dla.HeadDecomposer(), dla.ResidualVector(column), None)
    token = attribution(subject, dla.HeadDecomposer(), dla.Logit(11), None)
    bias = 0.0 if unembed.b_U is None else unembed.b_U[11].detach()
    assert_close(vector.values, token.values, sum_size(token).max(), subject.eps)
    assert_close(vector.constant, token.constant - bias, sum_size(token), subject.eps)
    assert_close(vector.logit, token.logit - bias, sum_size(token), subject.eps)


def test_a_vector_for_each_prompt_or_position() -> None:
    generator = torch.Generator().manual_seed(3)
    vectors = torch.randn(2, 6, 32, generator=generator)
    everywhere = attribution(GPT2, dla.HeadDecomposer(), dla.ResidualVector(vectors), None)
    per_prompt = attribution(GPT2, dla.HeadDecomposer(), dla.ResidualVector(vectors[:, 2]), 2)
    one = attribution(GPT2, dla.HeadDecomposer(), dla.ResidualVector(vectors[1, 2]), 2)
    size = sum_size(everywhere).max()
    assert_close(numbers(per_prompt), numbers(everywhere)[:, :, 2], size, GPT2.eps)
    assert_close(numbers(one)[:, 1], numbers(per_prompt)[:, 1], size, GPT2.eps)


def test_a_direction_of_any_length() -> None:
    """What is asked may be nothing at all, or so short or long that its square is not a number of its dtype."""
    model, tokens = GPT2.model(), some_tokens(5)
    attributor, vector = dla.Attributor(model, dla.HeadDecomposer()), torch.randn(GPT2.model().cfg.d_model)
    expected = attributor.attribute(tokens, dla.ResidualVector(vector)).values.double()
    for length in (1e-42, 1e-30, 1e30):
        result = attributor.attribute(tokens, dla.ResidualVector(length * vector))
        rough = 1e-2 if length < 1e-38 else 1e-4
        torch.testing.assert_close(result.values.double() / length, expected, atol=rough, rtol=rough)
        assert bool(result.tolerance.isfinite().all())
    for nothing in (0 * dla.Logit(9), dla.ResidualVector(0 * vector)):
        result = attributor.attribute(tokens, {"something": dla.Logit(9), "nothing": nothing})
        assert torch.equal(result.values[:, 1], torch.zeros_like(result.values[:, 1]))
        assert_reconstructs(attributor.attribute(tokens, dla.Logit(9)), result.logit[0], eps=GPT2.eps)


def test_tokens_as_text_ids_tensors_and_lists_are_the_same_tokens() -> None:
    tokenizer = GPT2.model().tokenizer
    mary, john = (tokenizer(name, add_special_tokens=False).input_ids[0] for name in (" Mary", " John"))
    attributor = dla.Attributor(GPT2.model(), dla.ComponentDecomposer())
    prompts = [PROMPT, PROMPT + " the"]
    expected = attributor.attribute(prompts, dla.LogitDifference(" Mary", " John"))
    for first, second in (
        (mary, john),
        (torch.tensor(mary), torch.tensor(john)),
        (torch.tensor([mary, mary]), torch.tensor([john, john], dtype=torch.int32)),
        ([" Mary", mary], [" John", " John"]),
    ):
        assert_attributions_equal(
            attributor.attribute(prompts, dla.LogitDifference(first, second)), expected, eps=GPT2.eps
        )


def test_differences_do_not_see_what_is_common_to_all_logits() -> None:
    """One more law of the mean: a logit minus the mean of all of them is the mean difference."""
    everything = list(range(VOCABULARY_SIZE))
    centred = attribution(LLAMA, dla.ComponentDecomposer(), dla.Logit(9) - dla.LogitSet(everything))
    own = LLAMA.logits(some_tokens(5))[:, -1]
    assert_reconstructs(centred, own[:, 9] - own.mean(-1), eps=LLAMA.eps)


@pytest.mark.parametrize(
    ("direction", "words"),
    [
        (dla.Logit(" Mary"), "logit of ' Mary'"),
        (dla.LogitDifference(" Mary", 7), "logit difference ' Mary' - 7"),
        (dla.LogitSet([" Mary", " John"]), "mean logit of ' Mary', ' John'"),
        (dla.LogitSet([1, 2, 3, 4, 5]), r"mean logit of 1, 2, 3, ... (5 tokens)"),
        (dla.NextToken(), "logit of the next token"),
        (dla.ResidualVector(torch.zeros(3)), "residual vector [3]"),
        (dla.Logit(torch.tensor([1, 2])), "logit of tokens [2]"),
        (dla.Logit(1) - dla.Logit(2), "+1 * (logit of 1) -1 * (logit of 2)"),
    ],
)
def test_directions_say_what_they_are(direction: dla.Direction, words: str) -> None:
    assert direction.describe() == words
