"""Every dtype: sums in float32 or wider, a tolerance from the model's own."""

import pytest
import torch
from subjects import LINE, some_ids, some_tokens
from torch import Tensor
from zoo_models import bridged, hugging_face_logits, picked

import dla
from dla.testing.models import hooked_architecture

DECOMPOSERS = (dla.ComponentDecomposer(), dla.HeadDecomposer(), dla.LayerDecomposer())
each_decomposer = pytest.mark.parametrize("decomposer", DECOMPOSERS, ids=lambda d: type(d).__name__)
each_half = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)


def error_of(result: dla.Attribution, own: Tensor) -> float:
    """How far the sum is from the model's own logits, in their standard deviations."""
    return float((result.total + result.constant - own).abs().max() / own.std())


@each_decomposer
@pytest.mark.parametrize(("name", "limit"), [("gpt2", 1e-10), ("phi", 1e-10), ("bloom", 1e-10), ("opt", 1e-10)])
def test_double_precision_is_exact_with_layer_norms(name: str, limit: float, decomposer: dla.Decomposer) -> None:
    tokens = some_tokens(1)
    ids = some_ids(1, *tokens.shape)
    attributor = dla.Attributor(bridged(name, dtype=torch.float64), decomposer)
    result = attributor.attribute(tokens, dla.Logit(ids), pos=None)
    assert result.values.dtype == torch.float64
    assert error_of(result, picked(hugging_face_logits(name, tokens, torch.float64), ids)) < limit
    assert bool((result.tolerance < 1e-10).all())


@each_decomposer
@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2", "mamba"])
def test_double_precision_is_as_exact_as_hugging_faces_own_rms_norms(name: str, decomposer: dla.Decomposer) -> None:
    tokens = some_tokens(1)
    ids = some_ids(1, *tokens.shape)
    result = dla.Attributor(bridged(name, dtype=torch.float64), decomposer).attribute(tokens, dla.Logit(ids), pos=None)
    own = picked(hugging_face_logits(name, tokens, torch.float64), ids)
    cap = 2.0 if name == "gemma2" else None
    before = own if cap is None else cap * torch.atanh(own / cap)
    assert error_of(result, before) < (1e-6 if cap is None else 1e-5)
    assert bool((result.tolerance > 1e-7).all()), "the tolerance must allow for norms in float32"


@pytest.mark.skipif(LINE >= 4, reason="TransformerLens 4 has no HookedTransformer")
@each_decomposer
@pytest.mark.parametrize("processed", [False, True])
def test_a_hooked_transformer_in_double_precision(processed: bool, decomposer: dla.Decomposer) -> None:
    model, tokens = hooked_architecture("ln").model(dtype=torch.float64, processed=processed), some_tokens(1)
    result = dla.Attributor(model, decomposer).attribute(tokens, dla.Logit(9), pos=None)
    assert error_of(result, model(tokens).detach()[..., 9]) < 1e-10


def own_rows(model: object, tokens: Tensor, token: int) -> dict[str, Tensor]:
    """Rows from a plain cache of a model with LayerNorms, in float64."""
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
    norm, W_U = model.ln_final, model.unembed.W_U.double()
    weight = (norm.w if hasattr(norm, "w") else norm.weight).double()
    names = [f"{i}_{kind}" for i in range(2) for kind in ("attn_out", "mlp_out")]
    rows = {}
    for name in names:
        layer, kind = name.split("_", 1)
        x = cache[f"blocks.{layer}.hook_{kind}"].double()
        x = (x - x.mean(-1, keepdim=True)) / cache["ln_final.hook_scale"].double()
        rows[name] = (x * weight) @ W_U[:, token]
    return rows


@each_half
def test_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    model, tokens = bridged("gpt2", dtype=dtype), some_tokens(4)
    result = dla.Attributor(model, dla.ComponentDecomposer()).attribute(tokens, dla.Logit(9), pos=None)
    assert result.values.dtype == torch.float32
    for label, row in own_rows(model, tokens, 9).items():
        mine = result.select(label).values[0]
        assert (mine - row).abs().max() < 1e-5 * row.abs().max(), f"{label} is not summed in float32"


@each_half
@each_decomposer
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_half_precision_has_the_tolerance_of_float32(name: str, dtype: torch.dtype, decomposer: dla.Decomposer) -> None:
    tokens = some_tokens(4)
    ids = some_ids(4, *tokens.shape)
    result = dla.Attributor(bridged(name, dtype=dtype), decomposer).attribute(tokens, dla.Logit(ids), pos=None)
    own = picked(hugging_face_logits(name, tokens, dtype), ids).float()
    assert result.provenance.dtype == str(dtype).removeprefix("torch.")
    assert bool((result.gap.abs() <= result.tolerance).all())
    assert error_of(result, own) < 1e-5
    single = dla.Attributor(bridged(name), decomposer).attribute(tokens, dla.Logit(ids), pos=None)
    assert 0.5 < (result.tolerance / single.tolerance).median() < 2


@pytest.mark.skipif(LINE >= 4, reason="TransformerLens 4 has no HookedTransformer")
@each_decomposer
def test_a_hooked_transformer_in_half_precision(decomposer: dla.Decomposer) -> None:
    model, tokens = hooked_architecture("ln").model(dtype=torch.bfloat16), some_tokens(4)
    result = dla.Attributor(model, decomposer).attribute(tokens, dla.Logit(9), pos=None)
    assert result.values.dtype == torch.float32
    assert bool((result.gap.abs() <= result.tolerance).all())
    assert error_of(result, model(tokens).detach()[..., 9].float()) < 1e-5
