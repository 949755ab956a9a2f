"""Compatibility mode, whatever its switches say, and TransformerLens' own models: exact for what runs."""

import warnings
from typing import Any

import pytest
import torch
from subjects import some_ids, some_tokens
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge
from zoo_models import hugging_face_logits, picked

import dla
from benchmarks.zoo.cache_rows import rows_from_cache
from dla.testing.models import VOCABULARY_SIZE, architecture, randomise

SWITCHES: tuple[dict[str, bool], ...] = (
    {"no_processing": True},
    {"fold_ln": False},
    {"center_unembed": False},
    {"center_writing_weights": False},
    {"fold_value_biases": False},
    {"fold_ln": False, "center_unembed": False, "center_writing_weights": False},
)
UNITS = (dla.ComponentDecomposer(), dla.HeadDecomposer(), dla.LayerDecomposer())


def assert_exact(model: Any, decomposer: dla.Decomposer) -> None:
    """The sum and each row, in standard deviations of the logits of a plain forward pass."""
    tokens = some_tokens(6, width=10)
    ids = some_ids(6, *tokens.shape)
    rows = rows_from_cache(model, tokens)
    result = dla.Attributor(model, decomposer).attribute(tokens, dla.Logit(ids), pos=None)
    std = rows.logits.std()
    assert (result.output_logit - picked(rows.logits, ids)).abs().max() < 1e-5 * std
    assert (result.total + result.constant - picked(rows.unembedded, ids)).abs().max() < 1e-5 * std
    for part, label, values in zip(result.parts, result.labels, result.values, strict=True):
        assert label in rows.vectors or part.kind in ("embed", "pos_embed")
        if label in rows.vectors:
            assert (values - rows.row(label, ids)).abs().max() < 1e-5 * std, label


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda s: "-".join(s))
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "phi", "mixtral"])
def test_compatibility_mode_is_exact_whatever_its_switches_say(name: str, switches: dict[str, bool]) -> None:
    model = architecture(name).bridge()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.enable_compatibility_mode(disable_warnings=True, **switches)
    for decomposer in UNITS:
        assert_exact(model, decomposer)
    tokens = some_tokens(6)
    with torch.no_grad():
        own = model(tokens).log_softmax(-1)
    assert (own - hugging_face_logits(name, tokens).log_softmax(-1)).abs().max() < 1e-4, "a warning was due"


@pytest.mark.parametrize("positions", ["standard", "rotary"])
@pytest.mark.parametrize("norm", ["LN", "RMS"])
def test_transformerlens_own_models_are_exact(norm: str, positions: str) -> None:
    config = TransformerBridgeConfig(
        n_layers=2,
        d_model=32,
        n_heads=4,
        d_head=8,
        d_mlp=48,
        n_ctx=32,
        d_vocab=VOCABULARY_SIZE,
        act_fn="gelu",
        normalization_type=norm,
        positional_embedding_type=positions,
    )
    model = TransformerBridge.boot_native(config)
    model.eval()
    randomise(model.original_model, seed=0)
    for decomposer in UNITS:
        assert_exact(model, decomposer)
