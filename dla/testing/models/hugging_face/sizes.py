"""What the configurations share."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dla.testing.models.word_tokenizer import VOCABULARY_SIZE

Fields = Mapping[str, Any]
"""Arguments of a configuration class."""

TOKENS: Fields = MappingProxyType(
    {"vocab_size": VOCABULARY_SIZE, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
)
"""The tiny tokenizer's vocabulary and special tokens."""

GPT2: Fields = MappingProxyType({**TOKENS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48, "n_positions": 64})
"""Sizes, for configurations whose fields are named as GPT-2's."""

LLAMA: Fields = MappingProxyType(
    {
        **TOKENS,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
    }
)
"""Sizes, for configurations whose fields are named as Llama's; two query heads share a key-value head."""

EXPERTS: Fields = MappingProxyType({"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24})
"""Four experts of which a token is sent to two."""

LATENT: Fields = MappingProxyType(
    {
        "num_key_value_heads": 4,
        "kv_lora_rank": 16,
        "q_lora_rank": 24,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 4,
        "v_head_dim": 12,
    }
)
"""Multi-head latent attention, whose heads read keys of 12 and values of 12 dimensions from 16."""

MAMBA2: Fields = MappingProxyType(
    {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}
)
"""The state space blocks of hybrids."""

GRANITE: Fields = MappingProxyType(
    {"embedding_multiplier": 3.0, "residual_multiplier": 0.6, "attention_multiplier": 0.3, "logits_scaling": 2.0}
)
"""Granite's four multipliers."""

LINEAR: Fields = MappingProxyType(
    {
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_conv_kernel_dim": 4,
    }
)
"""The linear attention blocks of hybrids."""


def without(fields: Fields, *names: str) -> Fields:
    """Those fields that are not named.

    A configuration class takes fields that it does not know, and TransformerLens would read them.
    """
    return {name: value for name, value in fields.items() if name not in names}


MULTI_HEAD: Fields = MappingProxyType(without(LLAMA, "num_key_value_heads"))
"""Sizes, for configurations that know no grouped queries."""

WINDOW = 4
"""Length of sliding windows: shorter than the prompts, so that a window that is forgotten shows."""


def rope(partial: float = 1.0) -> Fields:
    """Rotary position settings; `partial` is the fraction of a head's dimensions that rotates."""
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": partial}}
