"""Models in which some or all blocks mix positions by a recurrence or a convolution."""

from functools import partial

from dla.testing.models.hugging_face.architecture import HuggingFaceArchitecture, tiny
from dla.testing.models.hugging_face.sizes import EXPERTS, GRANITE, LINEAR, LLAMA, MAMBA2, TOKENS, WINDOW, rope, without

_hybrid, _recurrent = partial(tiny, kind="hybrid"), partial(tiny, kind="recurrent")

_HEAD = {"head_dim": 8}
_LINEAR_FIRST = {**LINEAR, "layer_types": ["linear_attention", "full_attention"]}
_SHARED = {"shared_expert_intermediate_size": 24}
_GRANITE = {
    **GRANITE,
    "shared_intermediate_size": 48,
    "position_embedding_type": "rope",  # without, TransformerLens boots a bridge that cannot run
    "layer_types": ["mamba", "attention"],
}
_CONVOLUTION_FIRST = {"layer_types": ["conv", "full_attention"], "conv_bias": True}
_FALCON_H1 = {
    "mamba_d_ssm": 64,
    "lm_head_multiplier": 0.5,
    "embedding_multiplier": 2.0,
    "mlp_multipliers": [0.7, 1.3],
    "key_multiplier": 0.8,
    "attention_out_multiplier": 0.6,
    "attention_in_multiplier": 1.2,
    "ssm_multipliers": [0.9, 0.8, 0.7, 1.1, 1.2],
    "ssm_in_multiplier": 1.1,
    "ssm_out_multiplier": 0.7,
}
_NEMOTRON = {
    **without(LLAMA, "num_hidden_layers"),
    "head_dim": 8,
    "mamba_num_heads": 4,
    "mamba_head_dim": 16,
    "ssm_state_size": 8,
    "n_groups": 2,
    "chunk_size": 8,
    "use_mamba_kernels": False,
    "n_routed_experts": 4,
    "moe_intermediate_size": 24,
    "moe_shared_expert_intermediate_size": 24,
}
_ZAMBA = {
    **LLAMA,
    "mamba_d_state": 8,
    "n_mamba_heads": 4,
    "chunk_size": 8,
    "use_mamba_kernels": False,
    "adapter_rank": 4,
    "num_key_value_heads": 4,
    "num_hidden_layers": 4,
    "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
    "tie_word_embeddings": True,
}
_MAMBA = {**TOKENS, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
_RWKV = {
    **without(TOKENS, "pad_token_id"),
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "attention_hidden_size": 32,
    "intermediate_size": 48,
}

HYBRID: tuple[HuggingFaceArchitecture, ...] = (
    _hybrid("qwen3_next", "Qwen3NextConfig", LLAMA, _HEAD, _LINEAR_FIRST, EXPERTS, _SHARED),
    _hybrid("qwen3_5_text", "Qwen3_5TextConfig", LLAMA, _HEAD, _LINEAR_FIRST),
    _hybrid(
        "qwen3_5_moe_text",
        "Qwen3_5MoeTextConfig",
        without(LLAMA, "intermediate_size"),
        _HEAD,
        _LINEAR_FIRST,
        EXPERTS,
        _SHARED,
    ),
    _hybrid("olmo_hybrid", "OlmoHybridConfig", LLAMA, _LINEAR_FIRST),
    _hybrid("granitemoehybrid", "GraniteMoeHybridConfig", LLAMA, MAMBA2, _GRANITE, {"num_local_experts": 4}),
    _hybrid("granitemoehybrid-dense", "GraniteMoeHybridConfig", LLAMA, MAMBA2, _GRANITE, {"num_local_experts": 0}),
    # One sublayer in each block.
    _hybrid("nemotron_h", "NemotronHConfig", _NEMOTRON, {"layers_block_type": ["mamba", "mlp", "attention", "mlp"]}),
    _hybrid(
        "nemotron_h-experts", "NemotronHConfig", _NEMOTRON, {"layers_block_type": ["mamba", "moe", "attention", "moe"]}
    ),
    _hybrid(
        "jamba",
        "JambaConfig",
        LLAMA,
        {"num_experts": 4, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_offset": 0},
        {"use_mamba_kernels": False, "mamba_d_state": 8, "mamba_dt_rank": 4},
    ),
    _hybrid("bamba", "BambaConfig", LLAMA, MAMBA2, rope(0.5), {"attn_layer_indices": [1]}),
    # Attention and a state space side by side; eleven multipliers.
    _hybrid("falcon_h1", "FalconH1Config", LLAMA, MAMBA2, _FALCON_H1),
    # A shared attention block that also reads the embedding.
    _hybrid("zamba2", "Zamba2Config", _ZAMBA),
    _hybrid(
        "recurrent_gemma",
        "RecurrentGemmaConfig",
        without(LLAMA, "max_position_embeddings"),
        {"num_hidden_layers": 3, "lru_width": 32, "attention_window_size": WINDOW, "logits_soft_cap": 2.0},
        {"tie_word_embeddings": True},
    ),
    _hybrid("lfm2", "Lfm2Config", LLAMA, _CONVOLUTION_FIRST, {"block_auto_adjust_ff_dim": False}),
    _hybrid("lfm2_moe", "Lfm2MoeConfig", LLAMA, EXPERTS, _CONVOLUTION_FIRST, {"num_dense_layers": 1}),
)

RECURRENT: tuple[HuggingFaceArchitecture, ...] = (
    _recurrent("mamba", "MambaConfig", _MAMBA),
    _recurrent("mamba-bias-untied", "MambaConfig", _MAMBA, {"use_bias": True, "tie_word_embeddings": False}),
    _recurrent("mamba2", "Mamba2Config", _MAMBA, {"num_heads": 4, "head_dim": 16, "n_groups": 2, "chunk_size": 8}),
    _recurrent("falcon_mamba", "FalconMambaConfig", _MAMBA),
    _recurrent("rwkv", "RwkvConfig", _RWKV),
    # The residual stream is halved after each block, and the weights that write to it by its first use.
    _recurrent("rwkv-rescaled", "RwkvConfig", _RWKV, {"rescale_every": 1}),
)
