"""A HookedTransformer with the weights of a Hugging Face GPT-2 or Llama; for TransformerLens 3.x."""

import importlib
from importlib.metadata import version
from typing import Any

from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

_LONGEST = 2048
"""How long a Llama's prompts may be at most: each layer keeps a mask of this size by this size."""


def hooked_transformer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Any:
    """Copies a model into a HookedTransformer, its weights processed as by `from_pretrained` save for value biases.

    `HookedTransformer.from_pretrained` itself takes the names of hub models only, and no folders.

    Returns:
        The HookedTransformer: on the CPU, in the model's dtype, in eval mode, with the tokenizer.

    Raises:
        ValueError: If the model is neither a GPT-2 nor a Llama.
        ImportError: With TransformerLens 4 or later, which has no HookedTransformer.
    """
    fields, converter = _architecture(model)
    hooked_class, config_class, convert = _from_transformer_lens(converter)
    config = config_class(**fields)
    hooked = hooked_class(config, tokenizer, move_to_device=False)
    hooked.load_and_process_state_dict(convert(model, config), fold_value_biases=False)
    return hooked.eval()


def _architecture(model: PreTrainedModel) -> tuple[dict[str, Any], str]:
    """The configuration, and the name of TransformerLens' conversion of the weights."""
    shared = {
        "model_name": model.config.name_or_path,
        "device": "cpu",
        "dtype": model.dtype,
        "init_weights": False,  # they are replaced
    }
    if isinstance(model, GPT2LMHeadModel):
        return {**shared, **_gpt2(model.config)}, "gpt2"
    if isinstance(model, LlamaForCausalLM):
        return {**shared, **_llama(model.config)}, "llama"
    raise ValueError(
        f'Kind "hooked" is for GPT2LMHeadModel and LlamaForCausalLM only, and this is a {type(model).__name__}; '
        'use kind "bridge" instead.'
    )


def _from_transformer_lens(converter: str) -> tuple[Any, Any, Any]:
    try:
        root = importlib.import_module("transformer_lens")
        conversion = importlib.import_module(f"transformer_lens.pretrained.weight_conversions.{converter}")
        classes = root.HookedTransformer, root.HookedTransformerConfig
    except ImportError as error:
        raise ImportError(
            f"HookedTransformer exists only in TransformerLens 3.x, and {version('transformer-lens')} "
            'is installed; use kind "bridge" instead.'
        ) from error
    return *classes, vars(conversion)[f"convert_{converter}_weights"]


def _gpt2(config: GPT2Config) -> dict[str, Any]:
    return {
        "original_architecture": "GPT2LMHeadModel",
        "d_model": config.n_embd,
        "d_head": config.n_embd // config.n_head,
        "n_heads": config.n_head,
        "d_mlp": config.n_inner or 4 * config.n_embd,
        "n_layers": config.n_layer,
        "n_ctx": config.n_positions,
        "d_vocab": config.vocab_size,
        "eps": config.layer_norm_epsilon,
        "act_fn": config.activation_function,
        "use_attn_scale": config.scale_attn_weights,
        "scale_attn_by_inverse_layer_idx": config.scale_attn_by_inverse_layer_idx,
        "normalization_type": "LNPre",
    }


def _llama(config: LlamaConfig) -> dict[str, Any]:
    _check_llama(config)
    grouped = config.num_key_value_heads != config.num_attention_heads
    return {
        "original_architecture": "LlamaForCausalLM",
        "d_model": config.hidden_size,
        "d_head": config.head_dim,
        "n_heads": config.num_attention_heads,
        "n_key_value_heads": config.num_key_value_heads if grouped else None,
        "d_mlp": config.intermediate_size,
        "gated_mlp": True,
        "n_layers": config.num_hidden_layers,
        "n_ctx": min(config.max_position_embeddings, _LONGEST),
        "d_vocab": config.vocab_size,
        "eps": config.rms_norm_eps,
        "act_fn": config.hidden_act,
        "positional_embedding_type": "rotary",
        "rotary_dim": config.head_dim,
        "rotary_base": _rope(config)["rope_theta"],
        "normalization_type": "RMSPre",
        "final_rms": True,
    }


def _rope(config: LlamaConfig) -> dict[str, Any]:
    """How positions turn queries and keys, which transformers fills in."""
    return dict(config.rope_parameters or {})


def _check_llama(config: LlamaConfig) -> None:
    """Whether TransformerLens' conversion keeps all of the model: it drops biases, and what stretches the positions.

    Raises:
        ValueError: If it does not.
    """
    rope_type = _rope(config)["rope_type"]
    lost = {
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        f"rope_type {rope_type!r}": rope_type != "default",
    }
    if any(lost.values()):
        what = " and ".join(name for name, there in lost.items() if there)
        raise ValueError(
            f'Kind "hooked" is for Llamas without biases and with plain rotary positions, and this one has {what}; '
            'use kind "bridge" instead.'
        )
