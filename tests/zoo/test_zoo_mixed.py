"""Models whose modules are of several kinds: a head in another precision, weights that are quantised."""

from typing import Any

import pytest
import torch
from subjects import some_tokens
from torch import Tensor, nn
from torch.ao.nn.quantized import dynamic

import dla
from dla.testing.models import architecture, bridge_of

TOKENS = some_tokens(7)
FINEST = dla.HeadDecomposer() | dla.NeuronDecomposer()
PRECISIONS = (torch.bfloat16, torch.float16, torch.float32)

quantises = pytest.mark.filterwarnings("ignore:torch.(ao.quantization is|quantize_per_tensor).*deprecated")


class CastingHead(nn.Module):
    """An unembedding in a precision of its own."""

    def __init__(self, head: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(head.weight.detach().to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.to(self.weight.dtype), self.weight)


def with_head(body: torch.dtype, head: torch.dtype) -> Any:
    model: Any = architecture("llama").hugging_face(dtype=body)
    model.lm_head = CastingHead(model.lm_head, head)
    return model


@pytest.mark.parametrize(
    ("body", "head"), [(body, head) for body in PRECISIONS for head in PRECISIONS if body != head], ids=str
)
def test_a_head_in_another_precision(body: torch.dtype, head: torch.dtype) -> None:
    model, coarsest = with_head(body, head), max(torch.finfo(body).eps, torch.finfo(head).eps)
    with torch.no_grad():
        own = model(TOKENS).logits
    assert own.dtype == head
    own = own.float()
    result = dla.Attributor(bridge_of(model), FINEST).attribute(TOKENS, dla.Logit(7), pos=None)
    assert len(result.select(kind="head").labels) == 8
    assert (result.total + result.constant - own[..., 7]).abs().max() < 1e-5 * own.std()
    assert 0 < result.select(kind="rounding").values.abs().max() < 8 * coarsest * own.std()


def test_a_head_in_another_precision_that_unembeds_a_sample() -> None:
    model, tokens = with_head(torch.float32, torch.bfloat16), some_tokens(7, width=20)
    with torch.no_grad():
        own = model(tokens).logits[..., 7].float()
    attributor = dla.Attributor(bridge_of(model), FINEST, unembed="sample")
    result = attributor.attribute(tokens, dla.Logit(7), pos=None)
    assert bool((result.gap.abs() <= result.tolerance).all())
    allowed = torch.finfo(torch.bfloat16).eps * own.abs() + 1e-5  # elsewhere than on the sample no logit is rounded
    assert bool(((result.total + result.constant - own).abs() <= allowed).all())


def test_a_hook_without_which_the_model_does_not_run_is_a_part_of_it() -> None:
    model: Any = architecture("llama").hugging_face(dtype=torch.bfloat16)
    model.lm_head.float().register_forward_pre_hook(lambda module, args: (args[0].float(),))
    with torch.no_grad():
        own = model(TOKENS).logits
    bridge = bridge_of(model)
    result = dla.Attributor(bridge, FINEST).attribute(TOKENS, dla.Logit(7), pos=None)
    assert (result.total + result.constant - own[..., 7]).abs().max() < 1e-5 * own.std()

    class Forgets(dla.Decomposer):
        def writes(self, model: dla.ModelAdapter) -> list[dla.Write]:
            return [*model.embeddings(), *model.sublayers(0)]

    with pytest.raises(dla.ReconstructionError, match=r"A bias that the model adds is the part most often forgotten"):
        dla.Attributor(bridge, Forgets()).attribute(TOKENS, dla.Logit(7))


def test_a_head_that_casts_for_all_answers_at_once() -> None:
    model = with_head(torch.float32, torch.bfloat16)
    with torch.no_grad():
        own = model(TOKENS).logits.float()
    result = dla.Attributor(bridge_of(model), FINEST).attribute(TOKENS, dla.CentredLogit(7), pos=None)
    assert (result.total + result.constant - (own[..., 7] - own.mean(-1))).abs().max() < 1e-5 * own.std()


def quantised(dtype: torch.dtype, *names: str) -> Any:
    """A bridge, some of whose linear modules quantise what enters them, or their weight."""
    model: Any = architecture("llama").hugging_face()
    for path, module in list(model.named_modules()):
        if path.endswith(names):
            module.qconfig = _CONFIGS[dtype]
            made = dynamic.Linear.from_float(module)
            model.get_submodule(path.rpartition(".")[0]).register_module(path.rpartition(".")[2], made)
    return bridge_of(model)


_CONFIGS = {
    torch.qint8: torch.ao.quantization.default_dynamic_qconfig,
    torch.float16: torch.ao.quantization.float16_dynamic_qconfig,
}


@quantises
def test_a_weight_that_is_only_stored_in_fewer_bits_is_the_weight_that_it_computes_with() -> None:
    bridge = quantised(torch.float16, "o_proj", "down_proj")
    with torch.no_grad():
        own = bridge(TOKENS)[..., 7]
    result = dla.Attributor(bridge, FINEST).attribute(TOKENS, dla.Logit(7), pos=None)
    assert len(result.select(kind="head").labels) == 8
    assert len(result.select(kind="neuron").labels) > 90
    assert (result.total + result.constant - own).abs().max() < 1e-5 * own.std()


@quantises
def test_modules_that_quantise_what_enters_them_stay_whole_and_say_why() -> None:
    bridge = quantised(torch.qint8, "o_proj", "down_proj")
    with torch.no_grad():
        own = bridge(TOKENS)[..., 7]
    for decomposer, formula in (
        (dla.HeadDecomposer(), r"z @ W_O \+ b_O of blocks\.0\.attn misses its output by"),
        (dla.NeuronDecomposer(), r"post @ W_out \+ b_out of blocks\.0\.mlp misses its output by"),
    ):
        with pytest.warns(dla.CoarseDecompositionWarning, match=formula):
            attributor = dla.Attributor(bridge, decomposer)
        result = attributor.attribute(TOKENS, dla.Logit(7), pos=None)
        assert (result.total + result.constant - own).abs().max() < 1e-5 * own.std()


@quantises
def test_a_head_that_quantises_what_enters_it_is_refused_by_name() -> None:
    bridge: Any = bridge_of(architecture("llama").hugging_face())
    head = bridge.unembed.original_component
    head.qconfig = _CONFIGS[torch.qint8]
    bridge.unembed.register_module("_original_component", dynamic.Linear.from_float(head))
    refused = r"that of torch\.ao\.nn\.quantized\.dynamic\S+Linear misses its output.*that is not quantised"
    with pytest.raises(dla.UnsupportedModelError, match=refused):
        dla.Attributor(bridge, dla.ComponentDecomposer())
