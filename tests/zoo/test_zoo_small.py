"""Models that are smaller than the probe would like: short contexts, few tokens, no norms."""

from typing import Any

import pytest
import torch
from subjects import LINE, needs_hooked_transformer
from torch import Tensor
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge

import dla
from dla.testing.models import randomise

SIZES: dict[str, Any] = {
    "n_layers": 2,
    "d_model": 16,
    "n_heads": 4,
    "d_head": 4,
    "d_mlp": 24,
    "act_fn": "gelu",
    "seed": 0,
}

NATIVE: dict[str, dict[str, Any]] = {
    "no-norm": {"normalization_type": None},
    "no-norm-attention-only": {"normalization_type": None, "attn_only": True},
    "no-norm-gated": {"normalization_type": None, "gated_mlp": True, "act_fn": "silu"},
    "layer-norm": {"normalization_type": "LN"},
    "rms": {"normalization_type": "RMS", "gated_mlp": True, "act_fn": "silu"},
    "attention-only": {"normalization_type": "LN", "attn_only": True},
    "rotary": {"normalization_type": "RMS", "positional_embedding_type": "rotary", "rotary_dim": 4},
    "fewer-values": {"normalization_type": "LN", "n_key_value_heads": 2},
}
"""Switches of TransformerLens' own bridge."""


def native(**switches: Any) -> Any:
    bridge = TransformerBridge.boot_native(TransformerBridgeConfig(**{**SIZES, "n_ctx": 16, "d_vocab": 32, **switches}))
    randomise(bridge.original_model, 0)
    return bridge.eval()


def hooked(**switches: Any) -> Any:
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    config = HookedTransformerConfig(**{**SIZES, "n_ctx": 16, "d_vocab": 32, "normalization_type": "LN", **switches})
    model = HookedTransformer(config)
    randomise(model, 0)
    return model.eval()


def check(model: Any) -> None:
    """Every row of the last heads, and the sum, at every position that a prompt can have."""
    width, d_vocab = min(model.cfg.n_ctx, 5), model.cfg.d_vocab
    tokens = torch.tensor([[4, 9, 7, 12, 5], [6, 5, 11, 8, 10]])[:, :width] % d_vocab
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(tokens, dla.Logit(0), pos=None)
    own = logits[..., 0].float()
    size = logits.float().abs().max() + result.values.abs().sum(0).max()
    assert (result.output_logit - own).abs().max() == 0
    assert (result.total + result.constant - own).abs().max() < 1e-6 * size
    rows = last_heads(model, cache)
    assert (result.select(kind="head", layer=1).values - rows).abs().max() < 1e-6 * size


def last_heads(model: Any, cache: Any) -> Tensor:
    """What the last layer's heads write to logit 0, as it is written in a textbook."""
    attention, d_head = model.blocks[1].attn, model.cfg.d_head
    z = cache["blocks.1.attn.hook_z"].detach().float()
    written = torch.einsum("bphe,hed->hbpd", z.unflatten(2, (-1, d_head)) if z.ndim == 3 else z, attention.W_O.float())
    asked = model.unembed.W_U[:, 0].float()
    if model.cfg.normalization_type is not None:
        centred = written - written.mean(-1, keepdim=True) if model.cfg.normalization_type == "LN" else written
        weight = model.ln_final.weight if isinstance(model, TransformerBridge) else model.ln_final.w
        written, asked = centred / cache["ln_final.hook_scale"].float(), asked * weight.float()
    rows: Tensor = (written @ asked).detach()
    return rows


@pytest.mark.parametrize("name", NATIVE)
def test_transformerlens_own_bridge(name: str) -> None:
    check(native(**NATIVE[name]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_transformerlens_own_bridge_without_norms_in_any_precision(dtype: torch.dtype) -> None:
    model, tokens = native(normalization_type=None).to(dtype), torch.tensor([[4, 9, 7, 12, 5]])
    assert model.unembed.W_U.dtype == dtype
    with torch.no_grad():
        own = model(tokens)[..., 3].double()
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(tokens, dla.Logit(3), pos=None)
    assert (result.total + result.constant - own).abs().max() < 1e-6 * result.values.abs().sum(0).max()


@pytest.mark.parametrize("kind", ["LN", None])
@pytest.mark.parametrize(
    "size", [{"n_ctx": 3}, {"n_ctx": 2}, {"n_ctx": 1}, {"d_vocab": 3}, {"d_vocab": 2}, {"d_vocab": 1}]
)
def test_few_positions_or_few_tokens(size: dict[str, int], kind: str | None) -> None:
    check(native(normalization_type=kind, **size))
    if LINE < 4:
        check(hooked(normalization_type=kind, **size))


@needs_hooked_transformer
@pytest.mark.parametrize(
    "size", [{"n_ctx": 3}, {"n_ctx": 2}, {"d_vocab": 2}, {"d_vocab": 5, "d_vocab_out": 2}], ids=str
)
def test_a_small_bidirectional_model_is_refused(size: dict[str, int]) -> None:
    with pytest.raises(dla.UnsupportedModelError, match=r"A token changes the logits at positions before it"):
        dla.Attributor(hooked(attention_dir="bidirectional", **size), dla.ComponentDecomposer())


@needs_hooked_transformer
def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(dla.UnsupportedModelError, match=r"The model has no blocks: .* Pass a model with at least one"):
        dla.Attributor(hooked(n_layers=0), dla.ComponentDecomposer())


@pytest.mark.parametrize(
    "decomposer", [dla.ComponentDecomposer(), dla.HeadDecomposer()], ids=lambda d: type(d).__name__
)
def test_an_unembedding_of_zeros_answers_nothing(decomposer: dla.Decomposer) -> None:
    """As where a network is trained from an unembedding that starts at zero."""
    model = native(normalization_type="LN")
    for parameter in model.unembed.parameters():
        parameter.data.zero_()
    result = dla.Attributor(model, decomposer).attribute(torch.tensor([[1, 2, 3]]), dla.Logit(1))
    assert not result.values.any()
    assert not result.logit.any()


@needs_hooked_transformer
@pytest.mark.parametrize("size", [{"d_vocab": 5, "d_vocab_out": 2}, {"d_vocab": 2, "d_vocab_out": 5}], ids=str)
def test_other_answers_than_tokens(size: dict[str, int]) -> None:
    check(hooked(**size))
