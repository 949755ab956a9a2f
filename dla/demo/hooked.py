"""A HookedTransformer with the weights of a Hugging Face GPT-2; for TransformerLens 3.x."""

import importlib
from importlib.metadata import version
from typing import Any

from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerBase


def hooked_transformer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Any:
    """Copies a GPT-2 into a HookedTransformer, its weights processed as by `from_pretrained` save for value biases.

    `HookedTransformer.from_pretrained` itself takes the names of hub models only, and no folders.

    Returns:
        The HookedTransformer: on the CPU, in float32, in eval mode, with the tokenizer.
    """
    if not isinstance(model, GPT2LMHeadModel):
        raise ValueError(
            f'Kind "hooked" is for GPT2LMHeadModel only, and this is a {type(model).__name__}; '
            'use kind "bridge" instead.'
        )
    hooked_class, config_class, convert = _from_transformer_lens()
    config = config_class(**_fields(model.config))
    hooked = hooked_class(config, tokenizer, move_to_device=False)
    hooked.load_and_process_state_dict(convert(model, config), fold_value_biases=False)
    return hooked.eval()


def _from_transformer_lens() -> tuple[Any, Any, Any]:
    try:
        root = importlib.import_module("transformer_lens")
        gpt2 = importlib.import_module("transformer_lens.pretrained.weight_conversions.gpt2")
        return root.HookedTransformer, root.HookedTransformerConfig, gpt2.convert_gpt2_weights
    except ImportError as error:
        raise ImportError(
            f"HookedTransformer exists only in TransformerLens 3.x, and {version('transformer-lens')} "
            'is installed; use kind "bridge" instead.'
        ) from error


def _fields(config: GPT2Config) -> dict[str, Any]:
    return {
        "model_name": config.name_or_path,
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
        "device": "cpu",
    }
