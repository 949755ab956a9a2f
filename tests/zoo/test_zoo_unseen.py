"""A family that nobody has seen works or is refused, without a line added for it."""

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from subjects import some_ids, some_tokens
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge
from zoo_models import picked

import dla
from dla.testing.models import architecture, tokenizer

Forward = Callable[..., Tensor]


def decoder_layer(combine: Callable[[Any, Tensor, Tensor, Callable[[Tensor], Tensor]], Tensor]) -> Forward:
    """A Llama block that puts its stream, attention and MLP together in a way of its own."""

    def forward(self: Any, hidden_states: Tensor, **kwargs: Any) -> Tensor:
        attention, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        return combine(self, hidden_states, attention, lambda x: self.mlp(self.post_attention_layernorm(x)))

    return forward


def scaled(self: Any, stream: Tensor, attention: Tensor, mlp: Callable[[Tensor], Tensor]) -> Tensor:
    mid = stream + attention
    return mid + 0.37 * mlp(mid)


def decayed(self: Any, stream: Tensor, attention: Tensor, mlp: Callable[[Tensor], Tensor]) -> Tensor:
    mid = 0.8 * stream + 1.7 * attention
    return mid - 0.5 * mlp(mid)


def uncaptured(self: Any, stream: Tensor, attention: Tensor, mlp: Callable[[Tensor], Tensor]) -> Tensor:
    mid = stream + attention
    return mid + mlp(mid) + torch.tanh(stream)


def gated(self: Any, stream: Tensor, attention: Tensor, mlp: Callable[[Tensor], Tensor]) -> Tensor:
    mid = stream + attention * torch.sigmoid(stream[..., :1])
    return mid + mlp(mid)


def unseen(forward: Forward | None, final: nn.Module | None = None) -> Any:
    """A Hugging Face Llama whose blocks run `forward`, and whose final norm may be another module."""
    model: Any = architecture("llama").hugging_face()
    for layer in model.model.layers if forward is not None else ():
        layer.forward = types.MethodType(forward, layer)
    if final is not None:
        model.model.norm = final
    return model


def booted(model: Any) -> Any:
    return TransformerBridge.boot_transformers("tiny", hf_model=model, tokenizer=tokenizer(), device="cpu")


def attributed(combine: Any, decomposer: dla.Decomposer) -> tuple[dla.Attribution, float]:
    """The rows, and how far they are from the logits of an untouched copy in their standard deviations."""
    forward, tokens = decoder_layer(combine), some_tokens(1)
    ids = some_ids(1, *tokens.shape)
    with torch.no_grad():
        own = picked(unseen(forward)(tokens).logits, ids)
    result = dla.Attributor(booted(unseen(forward)), decomposer).attribute(tokens, dla.Logit(ids), pos=None)
    return result, float((result.total + result.constant - own).abs().max() / own.std())


@pytest.mark.parametrize("decomposer", [dla.ComponentDecomposer(), dla.HeadDecomposer(), dla.LayerDecomposer()])
@pytest.mark.parametrize("combine", [scaled, decayed, uncaptured, gated])
def test_an_unseen_block_is_exact(combine: Any, decomposer: dla.Decomposer) -> None:
    _, error = attributed(combine, decomposer)
    assert error < 1e-5


@pytest.mark.parametrize("combine", [scaled, decayed])
def test_multipliers_are_found_and_heads_kept(combine: Any) -> None:
    result, _ = attributed(combine, dla.HeadDecomposer())
    assert {part.kind for part in result.parts} == {"embed", "head", "mlp_out"}


@pytest.mark.parametrize("combine", [uncaptured, gated])
def test_what_no_hook_shows_leaves_the_block_as_one_row(combine: Any) -> None:
    for decomposer in (dla.ComponentDecomposer(), dla.HeadDecomposer()):
        result, _ = attributed(combine, decomposer)
        assert {str(part) for part in result.parts} == {"embed", "0_block", "1_block"}


class Squash(nn.Module):
    """Something in the place of a norm that is not linear, whatever its scale."""

    variance_epsilon = 1e-6

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(32))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.weight * x)


def test_a_readout_that_is_not_linear_is_refused() -> None:
    model = unseen(None, Squash())
    with torch.no_grad():
        truth = model(some_tokens(1)).logits
    bridge = booted(model)
    with torch.no_grad():
        replaced = not torch.allclose(bridge(some_tokens(1)), truth, atol=1e-4)
    reason = "is not the checkpoint" if replaced else "is not a LayerNorm or RMSNorm given its scale"
    with pytest.raises(dla.UnsupportedModelError, match=reason):
        dla.Attributor(bridge, dla.ComponentDecomposer())
