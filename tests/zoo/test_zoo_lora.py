"""Models with adapters that are not merged: what runs is what is attributed, or the model is refused."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from subjects import some_tokens
from zoo_models import own_difference

import dla
from dla.testing.models import architecture, bridge_of

FINEST = dla.HeadDecomposer() | dla.NeuronDecomposer()
ASKED = dla.LogitDifference(5, 9)
TOKENS = some_tokens(5)

BESIDE = [("gpt2", "attn.c_proj mlp.c_proj"), ("llama-biases", "v_proj o_proj down_proj"), ("llama", "q_proj lm_head")]
each_beside = pytest.mark.parametrize(("name", "targets"), BESIDE, ids=lambda value: value.replace(" ", "-"))


def with_lora(name: str, targets: str, dtype: torch.dtype = torch.float32) -> PeftModel:
    """A model with an update beside some of its weights that is as large as they are."""
    model: Any = architecture(name).hugging_face(dtype=dtype)
    config = LoraConfig(
        r=2, lora_alpha=8, lora_dropout=0.1, target_modules=targets.split(), fan_in_fan_out="gpt2" in name
    )
    return moved(get_peft_model(model, config).eval(), 0)


def moved(model: PeftModel, seed: int) -> PeftModel:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part, parameter in model.named_parameters():
            if "lora_" in part:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def bridged(model: PeftModel) -> Any:
    return bridge_of(model.base_model.model)


@each_beside
def test_rows_are_those_of_the_merged_model(name: str, targets: str) -> None:
    model, merged = with_lora(name, targets), with_lora(name, targets).merge_and_unload()
    own = own_difference(model, TOKENS, 5, 9)
    for decomposer in (FINEST, dla.SourceDecomposer()):
        result = dla.Attributor(bridged(model), decomposer).attribute(TOKENS, ASKED, pos=None)
        expected = dla.Attributor(bridge_of(merged), decomposer).attribute(TOKENS, ASKED, pos=None)
        assert result.labels == expected.labels
        assert (result.values - expected.values).nan_to_num().abs().max() < 1e-5 * own.std()
        assert (result.total + result.constant - own).abs().max() < 1e-5 * own.std()


@each_beside
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_exact_and_rounds_little(name: str, targets: str, dtype: torch.dtype) -> None:
    model = with_lora(name, targets, dtype)
    bridge = bridged(model)
    with torch.no_grad():
        own = bridge(TOKENS).float()
    result = dla.Attributor(bridge, FINEST).attribute(TOKENS, ASKED, pos=None)
    assert bool((result.gap.abs() <= result.tolerance).all())
    assert (result.output_logit - (own[..., 5] - own[..., 9])).abs().max() == 0
    assert len(result.select(kind="head").labels) == 8
    assert len(result.select(kind="neuron").labels) > 90
    assert result.select(kind="rounding").values.abs().max() < 32 * torch.finfo(dtype).eps * own.std()


@pytest.mark.parametrize("mode", ["raw", "compatibility"])
@pytest.mark.parametrize(("name", "fused"), [("gpt2", "c_attn"), ("gpt_neox", "query_key_value")])
def test_an_adapter_that_transformerlens_loses_is_refused(name: str, fused: str, mode: str) -> None:
    bridge = bridged(with_lora(name, fused))
    if mode == "compatibility":
        bridge.enable_compatibility_mode(disable_warnings=True)
    lost = rf"blocks\.0\.attn on copies of the weight of {fused}.*peft's Linear.*model = model\.merge_and_unload\(\)"
    with pytest.raises(dla.UnsupportedModelError, match=lost):
        dla.Attributor(bridge, dla.HeadDecomposer(), check="warn")


@pytest.mark.parametrize("mode", ["raw", "compatibility"])
def test_a_merged_adapter_is_a_model_like_any(mode: str) -> None:
    model = with_lora("gpt2", "c_attn")
    own = own_difference(model, TOKENS, 5, 9)
    bridge = bridge_of(model.merge_and_unload())
    if mode == "compatibility":
        bridge.enable_compatibility_mode(disable_warnings=True)
    result = dla.Attributor(bridge, dla.HeadDecomposer()).attribute(TOKENS, ASKED, pos=None)
    assert (result.total + result.constant - own).abs().max() < 1e-5 * own.std()


def test_a_lost_adapter_is_refused_when_it_is_switched_on() -> None:
    model = with_lora("gpt2", "c_attn")
    with model.disable_adapter():
        attributor = dla.Attributor(bridged(model), dla.HeadDecomposer())
        own = own_difference(model, TOKENS, 5, 9)
        result = attributor.attribute(TOKENS, ASKED, pos=None)
        assert (result.total + result.constant - own).abs().max() < 1e-5 * own.std()
    with pytest.raises(dla.UnsupportedModelError, match=r"on copies of the weight of c_attn"):
        attributor.attribute(TOKENS, ASKED, pos=None)


def test_what_runs_is_attributed_whichever_adapter_is_on() -> None:
    model = with_lora("llama", "o_proj down_proj")
    model.add_adapter("other", LoraConfig(r=3, lora_alpha=5, target_modules=["o_proj"]))
    moved(model.eval(), 1)
    attributor = dla.Attributor(bridged(model), FINEST)
    answers = []

    def check() -> None:
        own, result = own_difference(model, TOKENS, 5, 9), attributor.attribute(TOKENS, ASKED, pos=None)
        assert len(result.select(kind="head").labels) == 8
        assert (result.total + result.constant - own).abs().max() < 1e-5 * own.std()
        assert all((own - earlier).abs().max() > 0.1 for earlier in answers), "the switch changes nothing"
        answers.append(own)

    check()
    model.set_adapter("other")
    check()
    with model.disable_adapter():
        check()
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.set_scale("other", 0.5)
    check()
    moved(model, 2)
    check()
