"""Where the model that runs is not the checkpoint, a warning names the cause, or the model is refused."""

import warnings

import pytest
import torch
from subjects import some_ids, some_tokens
from zoo_models import bridged, hugging_face_logits, picked

import dla
from dla.testing.models import architecture

CAUSES = {
    "gpt_oss": r"folded the value biases into b_O.*attention sinks.*pass fold_value_biases=False",
    "bitnet": r"does not compute what Hugging Face's own module computes.*Attribute the raw bridge instead",
    "bloom-post-residual": r"folded the weight of blocks\.0\.ln\d.*continues from that norm's.*pass fold_ln=False",
}


@pytest.mark.parametrize("name", CAUSES)
def test_compatibility_mode_that_changed_the_model_is_warned_of(name: str) -> None:
    model, tokens = bridged(name, "compatibility"), some_tokens(1)
    with pytest.warns(dla.ModelMismatchWarning, match=CAUSES[name]):
        attributor = dla.Attributor(model, dla.HeadDecomposer())
    result = attributor.attribute(tokens, dla.Logit(7), pos=None)
    with torch.no_grad():
        own = model(tokens)
    changed = (own.log_softmax(-1) - hugging_face_logits(name, tokens).log_softmax(-1)).abs().max()
    assert changed > 0.1, "compatibility mode keeps this model, and the warning is not needed"
    assert (result.output_logit - own[..., 7]).abs().max() < 1e-5 * own.std()


@pytest.mark.parametrize("name", CAUSES)
def test_the_raw_bridge_that_the_warning_recommends_is_exact(name: str) -> None:
    tokens = some_tokens(1)
    result = dla.Attributor(bridged(name), dla.HeadDecomposer()).attribute(tokens, dla.Logit(7), pos=None)
    own = hugging_face_logits(name, tokens)
    assert (result.total + result.constant - own[..., 7]).abs().max() < 1e-5 * own.std()


def test_value_biases_left_in_place_under_sinks_need_no_warning() -> None:
    model = architecture("gpt_oss").bridge()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.enable_compatibility_mode(disable_warnings=True, fold_value_biases=False)
    tokens = some_tokens(2)
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(tokens, dla.LogitDifference(5, 9), pos=None)
    own = hugging_face_logits("gpt_oss", tokens)
    assert (result.output_logit - (own[..., 5] - own[..., 9])).abs().max() < 1e-5 * own.std()


@pytest.fixture
def centred_under_a_cap() -> object:
    """A model whose logits are capped, its unembedding centred by hand: TransformerLens itself now refuses to."""
    model = architecture("gemma2").bridge("compatibility")
    with torch.no_grad():
        for parameter in model.unembed.parameters():
            if parameter.ndim == 2:
                axis = 0 if parameter.shape[0] == model.unembed.W_U.shape[1] else 1
                parameter -= parameter.mean(axis, keepdim=True)
    assert model.unembed.W_U.mean(1).abs().max() < 1e-6
    return model


def test_an_unembedding_centred_under_a_soft_cap_is_warned_of(centred_under_a_cap: object) -> None:
    with pytest.warns(dla.ModelMismatchWarning, match=r"centred the unembedding.*caps.*pass center_unembed=False"):
        dla.Attributor(centred_under_a_cap, dla.ComponentDecomposer())


def test_compatibility_mode_under_a_soft_cap_that_does_not_centre_needs_no_warning() -> None:
    dla.Attributor(bridged("gemma2", "compatibility"), dla.ComponentDecomposer())


REFUSED_RAW = r"blocks\.0\.attn does not compute what Hugging Face's own module computes.*With check='warn' it is"


def test_a_raw_bridge_that_is_not_its_checkpoint_is_refused() -> None:
    with pytest.raises(dla.UnsupportedModelError, match=REFUSED_RAW):
        dla.Attributor(bridged("falcon-new"), dla.ComponentDecomposer())


def test_a_raw_bridge_that_is_not_its_checkpoint_is_attributed_as_it_runs_if_asked() -> None:
    model, tokens = bridged("falcon-new"), some_tokens(3)
    ids = some_ids(3, *tokens.shape)
    with pytest.warns(dla.ModelMismatchWarning, match=r"this bridge is not the checkpoint"):
        attributor = dla.Attributor(model, dla.HeadDecomposer(), check="warn")
    result = attributor.attribute(tokens, dla.Logit(ids), pos=None)
    with torch.no_grad():
        own = picked(model(tokens), ids)
    assert (result.total + result.constant - own).abs().max() < 1e-5 * own.std()
    assert (picked(hugging_face_logits("falcon-new", tokens), ids) - own).abs().max() > 0.1 * own.std()
