"""Gemma: norm weights 1 + w, norms before and after each sublayer, soft caps, scaled embeddings."""

from dla.testing.models.hugging_face.architecture import HuggingFaceArchitecture, tiny
from dla.testing.models.hugging_face.sizes import LLAMA, WINDOW

_TIED = {**LLAMA, "head_dim": 8, "tie_word_embeddings": True}
_SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_SCALE = {"query_pre_attn_scalar": 16}
_CAPS = {**_SCALE, "final_logit_softcapping": 2.0, "attn_logit_softcapping": 1.0}
_NO_CAPS = {**_SCALE, "final_logit_softcapping": None, "attn_logit_softcapping": None}
_GLOBAL = {"global_head_dim": 16}  # heads of full attention are wider than those of sliding attention
_PER_LAYER_INPUT = {
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": _TIED["vocab_size"],
    "final_logit_softcapping": 2.0,
}
_KEYS_ARE_VALUES = {
    **_PER_LAYER_INPUT,
    "attention_k_eq_v": True,
    "global_head_dim": 16,
    "num_global_key_value_heads": 1,
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "layer_types": 2 * ["sliding_attention", "full_attention"],
}
_EXPERTS = {
    "hidden_size_per_layer_input": 0,
    "enable_moe_block": True,
    "global_head_dim": 8,
    "num_experts": 4,
    "top_k_experts": 2,
    "moe_intermediate_size": 24,
}

GEMMA: tuple[HuggingFaceArchitecture, ...] = (
    tiny("gemma", "GemmaConfig", _TIED),
    tiny("gemma-bias", "GemmaConfig", _TIED, {"attention_bias": True, "head_dim": 12}),
    # Caps on scores and logits.
    tiny("gemma2", "Gemma2Config", _TIED, _SLIDING, _CAPS),
    tiny("gemma2-uncapped", "Gemma2Config", _TIED, _SLIDING, _NO_CAPS),
    tiny("gemma3_text", "Gemma3TextConfig", _TIED, _SLIDING, _SCALE),
    tiny("gemma3_text-capped", "Gemma3TextConfig", _TIED, _SLIDING, _SCALE, {"final_logit_softcapping": 2.0}),
    # No norms after sublayers.
    tiny("vaultgemma", "VaultGemmaConfig", _TIED, _SLIDING, _CAPS),
    # Each block multiplies the residual stream by a scalar.
    tiny("gemma4_text", "Gemma4TextConfig", _TIED, _SLIDING, _GLOBAL, {"hidden_size_per_layer_input": 0}),
    tiny("gemma4_text-per-layer-input", "Gemma4TextConfig", _TIED, _SLIDING, _GLOBAL, _PER_LAYER_INPUT),
    tiny("gemma4_text-keys-are-values", "Gemma4TextConfig", _TIED, _SLIDING, _KEYS_ARE_VALUES),
    tiny("gemma4_text-experts", "Gemma4TextConfig", _TIED, _SLIDING, _EXPERTS, kind="experts"),
)
