"""Quantised weights are attributed as they run: rows of the dequantised weights, or the model is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from optimum.quanto import Calibration, freeze, qfloat8, qint4, qint8, quantize
from peft import LoraConfig, get_peft_model
from subjects import some_tokens
from torch import nn
from zoo_models import own_difference

import dla
from dla.testing.models import architecture, bridge_of

FINEST = dla.HeadDecomposer() | dla.NeuronDecomposer()
ASKED = dla.LogitDifference(5, 9)
TOKENS = some_tokens(5)
each_kind = pytest.mark.parametrize("weights", [qint8, qint4, qfloat8], ids=lambda kind: kind.name)
each_model = pytest.mark.parametrize("name", ["gpt2", "llama", "llama-biases", "gpt_neox", "gemma2"])


def quantised(name: str, weights: Any, dtype: torch.dtype = torch.float32, activations: Any = None) -> Any:
    model: Any = architecture(name).hugging_face(dtype=dtype)
    quantize(model, weights=weights, activations=activations)
    if activations is not None:
        with torch.no_grad(), Calibration():
            model(TOKENS)
    freeze(model)
    return model


def dequantised(model: Any) -> Any:
    """A model of plain linear layers, with the weights that the quantised ones stand for."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__module__.startswith("optimum"):
                linear = nn.Linear(child.in_features, child.out_features, bias=child.bias is not None)
                linear.weight = nn.Parameter(child.weight.dequantize().detach())
                if child.bias is not None:
                    linear.bias = nn.Parameter(child.bias.detach())
                setattr(module, name, linear)
    return model


@each_model
@each_kind
def test_rows_are_those_of_the_dequantised_weights(name: str, weights: Any) -> None:
    model = quantised(name, weights)
    own, full = own_difference(model, TOKENS, 5, 9), own_difference(architecture(name).hugging_face(), TOKENS, 5, 9)
    assert (own - full).abs().max() > 1e-3 * own.std(), "nothing was quantised"
    for decomposer in (FINEST, dla.SourceDecomposer()):
        result = dla.Attributor(bridge_of(quantised(name, weights)), decomposer).attribute(TOKENS, ASKED, pos=None)
        plain = bridge_of(dequantised(quantised(name, weights)))
        expected = dla.Attributor(plain, decomposer).attribute(TOKENS, ASKED, pos=None)
        assert result.labels == expected.labels
        assert (result.values - expected.values).nan_to_num().abs().max() < 2e-5 * own.std()
        if name != "gemma2":  # which caps its logits
            assert (result.total + result.constant - own).abs().max() < 1e-5 * own.std()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("weights", [qint4, qfloat8], ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", ["gpt2", "llama", "llama-biases", "gpt_neox"])
def test_half_precision_rounds_little(name: str, weights: Any, dtype: torch.dtype) -> None:
    bridge = bridge_of(quantised(name, weights, dtype))
    with torch.no_grad():
        own = bridge(TOKENS).float()
    result = dla.Attributor(bridge, FINEST).attribute(TOKENS, ASKED, pos=None)
    assert bool((result.gap.abs() <= result.tolerance).all())
    assert (result.output_logit - (own[..., 5] - own[..., 9])).abs().max() == 0
    assert len(result.select(kind="neuron").labels) > 90


def test_a_product_that_rounds_more_than_its_weights_say_is_refused_or_coarser() -> None:
    # with qint8 in bfloat16 the scale is applied after the product was rounded
    with pytest.raises(dla.UnsupportedModelError, match="a linear unembedding that is not quantised"):
        dla.Attributor(bridge_of(quantised("llama", qint8, torch.bfloat16)), FINEST)
    model: Any = architecture("llama").hugging_face(dtype=torch.bfloat16)
    quantize(model, weights=qint8, exclude="lm_head")
    freeze(model)
    with pytest.warns(dla.CoarseDecompositionWarning, match="which stay whole"):
        result = dla.Attributor(bridge_of(model), FINEST).attribute(TOKENS, ASKED, pos=None)
    assert bool((result.gap.abs() <= result.tolerance).all())


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_quantised_activations_are_refused(name: str) -> None:
    bridge = bridge_of(quantised(name, qint8, activations=qint8))
    told = r"rounds activations to qint8 \(optimum's Q\w+\).* Quantise the weights alone"
    with pytest.raises(dla.UnsupportedModelError, match=told):
        dla.Attributor(bridge, dla.HeadDecomposer(), check="warn")


def test_what_runs_the_model_again_works_too(tmp_path: Path) -> None:
    bridge = bridge_of(quantised("llama", qint4))
    result = dla.Attributor(bridge, FINEST).attribute(TOKENS, ASKED)
    head, neuron = (result.select(kind=kind).labels[-1] for kind in ("head", "neuron"))
    for label in (head, neuron):
        trace = result.trace(label, by=dla.ComponentDecomposer(), rule=dla.FrozenGate() if label == neuron else None)
        assert bool((trace.gap.abs() <= trace.tolerance).all())
    effects = result.effects([head])
    edited = dla.Attributor(bridge, FINEST).attribute(TOKENS, ASKED, edits=[dla.Edit(head, dla.Zero())])
    assert (effects.measured_effects[0] - (result.logit - edited.logit)).abs().max() < 1e-5
    assert result.caveats().sentences
    result.save(tmp_path / "a.nc")
    assert dla.load(tmp_path / "a.nc", model=bridge).labels == result.labels
    with pytest.raises(dla.RunChangedError, match="the model's weights differ"):
        dla.load(tmp_path / "a.nc", model=bridge_of(quantised("llama", qint8)))


def test_an_adapter_on_quantised_weights() -> None:
    model = get_peft_model(quantised("llama", qint8), LoraConfig(r=2, target_modules=["o_proj"])).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    own = own_difference(model, TOKENS, 5, 9)
    result = dla.Attributor(bridge_of(model.base_model.model), dla.HeadDecomposer()).attribute(TOKENS, ASKED, pos=None)
    assert len(result.select(kind="head").labels) == 8
    assert (result.total + result.constant - own).abs().max() < 1e-5 * own.std()
