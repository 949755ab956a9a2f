"""The rows of every decomposition add up to the model's own logits, on every model that is promised."""

import pytest
import torch
from assertions import assert_close, size_of
from dictionaries import RandomFeatures
from subjects import (
    DECOMPOSERS,
    GPT2,
    Subject,
    each_pair,
    some_ids,
    some_tokens,
)
from torch import Tensor

import dla
from dla.testing import assert_reconstructs


def picked(logits: Tensor, ids: Tensor) -> Tensor:
    """The logits `[batch pos vocabulary]` of one token a prompt and position."""
    return logits.gather(-1, ids[..., None]).squeeze(-1)


@each_pair
def test_rows_add_up_to_the_models_own_logits(subject: Subject, decomposer: dla.Decomposer) -> None:
    tokens = some_tokens(1)
    own = subject.logits(tokens)
    answers, others = (some_ids(seed, *tokens.shape, size=own.shape[-1]) for seed in (1, 2))
    attributor = dla.Attributor(subject.model(), decomposer)

    everywhere = attributor.attribute(tokens, dla.Logit(answers), pos=None)
    assert_close(everywhere.output_logit, picked(own, answers), size_of(everywhere), subject.eps, "the output logits")
    returned = subject.transform(everywhere.total + everywhere.constant)
    assert_close(returned, picked(own, answers), size_of(everywhere), subject.eps, "the transformed sums")

    difference = attributor.attribute(tokens, dla.LogitDifference(answers[:, -1], others[:, -1]))
    if torch.equal(subject.transform(own), own):
        assert_reconstructs(everywhere, picked(own, answers), eps=subject.eps)
        assert_reconstructs(difference, (picked(own, answers) - picked(own, others))[:, -1], eps=subject.eps)


def test_every_decomposer_of_the_library_is_tested() -> None:
    public = {getattr(dla, name) for name in dla.__all__}
    concrete = {kind for kind in public if isinstance(kind, type) and issubclass(kind, dla.Decomposer)}
    assert concrete - {dla.Decomposer, dla.FeatureDecomposer} == {type(d) for d in DECOMPOSERS} - {RandomFeatures}


@pytest.mark.parametrize("width", [1, 2, 30])
def test_prompts_of_any_length(width: int) -> None:
    tokens = some_tokens(3, batch=3, width=width)
    result = dla.Attributor(GPT2.model(), dla.HeadDecomposer()).attribute(tokens, dla.Logit(9), pos=None)
    assert_reconstructs(result, GPT2.logits(tokens)[..., 9], eps=GPT2.eps)
