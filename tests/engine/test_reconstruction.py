"""The rows of every decomposition add up to the model's own logits, on every model that is promised."""

import pytest
from dictionaries import RandomFeatures
from subjects import DECOMPOSERS, GPT2, as_given, each_pair, eps_of, picked, some_ids, some_tokens, transformed

import dla
from dla.testing import TinyModel, assert_reconstructs
from dla.testing.assertions import assert_close
from dla.testing.laws.compare import sum_size


@each_pair
def test_rows_add_up_to_the_models_own_logits(subject: TinyModel, decomposer: dla.Decomposer) -> None:
    tokens, eps = some_tokens(1), eps_of(subject)
    assert subject.eps <= eps, "the library takes the model for coarser than it is"
    own = subject.logits(tokens)
    answers, others = (some_ids(seed, *tokens.shape, size=own.shape[-1]) for seed in (1, 2))
    attributor, expected = dla.Attributor(subject.model(), decomposer), picked(own, answers)

    everywhere = attributor.attribute(tokens, dla.Logit(answers), pos=None)
    size = sum_size(everywhere)
    assert_close(everywhere.output_logit, expected, size, eps, "the output logits")
    assert_close(transformed(subject, everywhere.total + everywhere.constant), expected, size, eps, "the sums")
    if as_given(subject, own):
        assert_reconstructs(everywhere, expected, eps=eps)
        difference = attributor.attribute(tokens, dla.LogitDifference(answers[:, -1], others[:, -1]))
        assert_reconstructs(difference, (expected - picked(own, others))[:, -1], eps=eps)


def test_every_decomposer_of_the_library_is_tested() -> None:
    public = {getattr(dla, name) for name in dla.__all__}
    concrete = {kind for kind in public if isinstance(kind, type) and issubclass(kind, dla.Decomposer)}
    assert concrete - {dla.Decomposer, dla.FeatureDecomposer} == {type(d) for d in DECOMPOSERS} - {RandomFeatures}


@pytest.mark.parametrize("width", [1, 2, 30])
def test_prompts_of_any_length(width: int) -> None:
    tokens = some_tokens(3, batch=3, width=width)
    result = dla.Attributor(GPT2.model(), dla.HeadDecomposer()).attribute(tokens, dla.Logit(9), pos=None)
    assert_reconstructs(result, GPT2.logits(tokens)[..., 9], eps=GPT2.eps)
