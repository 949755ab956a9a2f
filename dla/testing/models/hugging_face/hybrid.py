"""Models in which some or all blocks mix positions by a recurrence or a convolution."""

from dla.testing.models.hugging_face.architecture import HuggingFaceArchitecture as Entry
from dla.testing.models.hugging_face.sizes import (
    EXPERTS,
    LINEAR,
    LLAMA,
    MAMBA2,
    TOKENS,
    WINDOW,
    configuration,
    rope,
    without,
)

_HEAD = {"head_dim": 8}
_LINEAR_FIRST = {**LINEAR, "layer_types": ["linear_attention", "full_attention"]}
_SHARED = {"shared_expert_intermediate_size": 24}
_GRANITE = {
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.6,
    "attention_multiplier": 0.3,
    "logits_scaling": 2.0,
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

HYBRID: tuple[Entry, ...] = (
    Entry(
        "qwen3_next",
        configuration("Qwen3NextConfig", LLAMA, _HEAD, _LINEAR_FIRST, EXPERTS, _SHARED),
        "hybrid",
    ),
    Entry("qwen3_5_text", configuration("Qwen3_5TextConfig", LLAMA, _HEAD, _LINEAR_FIRST), "hybrid"),
    Entry(
        "qwen3_5_moe_text",
        configuration(
            "Qwen3_5MoeTextConfig",
            without(LLAMA, "intermediate_size"),
            _HEAD,
            _LINEAR_FIRST,
            EXPERTS,
            _SHARED,
        ),
        "hybrid",
    ),
    Entry("olmo_hybrid", configuration("OlmoHybridConfig", LLAMA, _LINEAR_FIRST), "hybrid"),
    Entry(
        "granitemoehybrid",
        configuration("GraniteMoeHybridConfig", LLAMA, MAMBA2, _GRANITE, {"num_local_experts": 4}),
        "hybrid",
    ),
    Entry(
        "granitemoehybrid-dense",
        configuration("GraniteMoeHybridConfig", LLAMA, MAMBA2, _GRANITE, {"num_local_experts": 0}),
        "hybrid",
    ),
    Entry(
        "nemotron_h",
        configuration("NemotronHConfig", _NEMOTRON, {"layers_block_type": ["mamba", "mlp", "attention", "mlp"]}),
        "hybrid",
        "one sublayer in each block",
    ),
    Entry(
        "nemotron_h-experts",
        configuration("NemotronHConfig", _NEMOTRON, {"layers_block_type": ["mamba", "moe", "attention", "moe"]}),
        "hybrid",
    ),
    Entry(
        "jamba",
        configuration(
            "JambaConfig",
            LLAMA,
            {"num_experts": 4, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_offset": 0},
            {"use_mamba_kernels": False, "mamba_d_state": 8, "mamba_dt_rank": 4},
        ),
        "hybrid",
    ),
    Entry("bamba", configuration("BambaConfig", LLAMA, MAMBA2, rope(0.5), {"attn_layer_indices": [1]}), "hybrid"),
    Entry(
        "falcon_h1",
        configuration("FalconH1Config", LLAMA, MAMBA2, _FALCON_H1),
        "hybrid",
        "attention and a state space side by side; eleven multipliers",
    ),
    Entry(
        "zamba2",
        configuration("Zamba2Config", _ZAMBA),
        "hybrid",
        "a shared attention block that also reads the embedding",
    ),
    Entry(
        "recurrent_gemma",
        configuration(
            "RecurrentGemmaConfig",
            without(LLAMA, "max_position_embeddings"),
            {
                "num_hidden_layers": 3,
                "lru_width": 32,
                "attention_window_size": WINDOW,
                "logits_soft_cap": 2.0,
            },
            {"tie_word_embeddings": True},
        ),
        "hybrid",
    ),
    Entry(
        "lfm2",
        configuration("Lfm2Config", LLAMA, _CONVOLUTION_FIRST, {"block_auto_adjust_ff_dim": False}),
        "hybrid",
    ),
    Entry(
        "lfm2_moe",
        configuration("Lfm2MoeConfig", LLAMA, EXPERTS, _CONVOLUTION_FIRST, {"num_dense_layers": 1}),
        "hybrid",
    ),
)

RECURRENT: tuple[Entry, ...] = (
    Entry("mamba", configuration("MambaConfig", _MAMBA), "recurrent"),
    Entry(
        "mamba-bias-untied",
        configuration("MambaConfig", _MAMBA, {"use_bias": True, "tie_word_embeddings": False}),
        "recurrent",
    ),
    Entry(
        "mamba2",
        configuration("Mamba2Config", _MAMBA, {"num_heads": 4, "head_dim": 16, "n_groups": 2, "chunk_size": 8}),
        "recurrent",
    ),
    Entry("falcon_mamba", configuration("FalconMambaConfig", _MAMBA), "recurrent"),
    Entry("rwkv", configuration("RwkvConfig", _RWKV), "recurrent"),
    Entry(
        "rwkv-rescaled",
        configuration("RwkvConfig", _RWKV, {"rescale_every": 1}),
        "recurrent",
        "the residual stream is halved after each block, and the weights that write to it by its first use",
    ),
)
