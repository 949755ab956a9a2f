"""Mixtures of experts, and multi-head latent attention, which came with them."""

from dla.testing.models.hugging_face.architecture import HuggingFaceArchitecture as Entry
from dla.testing.models.hugging_face.sizes import EXPERTS, LATENT, LLAMA, WINDOW, configuration, rope, without

_HEAD = {"head_dim": 8}
_PLAIN = without(EXPERTS, "moe_intermediate_size")
_LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
_SHARED = {"shared_expert_intermediate_size": 24, "norm_topk_prob": True}
_SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_ROUTED = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 24,
    "routed_scaling_factor": 1.5,
    "n_group": 2,
    "topk_group": 1,
}
_DENSE_FIRST = {**_ROUTED, "first_k_dense_replace": 1}
_DENSE_FIRST_BY_TYPE = {**_ROUTED, "mlp_layer_types": ["dense", "sparse"]}
_GRANITE = {
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.6,
    "attention_multiplier": 0.3,
    "logits_scaling": 2.0,
}

MIXTURES: tuple[Entry, ...] = (
    Entry("mixtral", configuration("MixtralConfig", LLAMA, _LOCAL, {"sliding_window": WINDOW}), "experts"),
    Entry(
        "qwen2_moe",
        configuration("Qwen2MoeConfig", LLAMA, EXPERTS, _SHARED),
        "experts",
        "routed experts and a gated shared one",
    ),
    Entry(
        "qwen2_moe-dense-first",
        configuration("Qwen2MoeConfig", LLAMA, EXPERTS, _SHARED, {"mlp_only_layers": [0]}),
        "experts",
        "the first block has an MLP",
    ),
    Entry("qwen3_moe", configuration("Qwen3MoeConfig", LLAMA, EXPERTS), "experts"),
    Entry(
        "phimoe",
        configuration("PhimoeConfig", LLAMA, _LOCAL, {"attention_bias": True, "lm_head_bias": True}),
        "experts",
        "LayerNorm; unembedding bias",
        bridged_as="PhiMoEForCausalLM",
    ),
    Entry("olmoe", configuration("OlmoeConfig", LLAMA, _PLAIN, {"clip_qkv": 0.5}), "experts"),
    Entry(
        "flex_olmo",
        configuration("FlexOlmoConfig", LLAMA, _PLAIN),
        "experts",
        "norms after each sublayer only",
    ),
    Entry("granitemoe", configuration("GraniteMoeConfig", LLAMA, _LOCAL, _GRANITE), "experts"),
    Entry(
        "gpt_oss",
        configuration("GptOssConfig", LLAMA, _HEAD, _LOCAL, _SLIDING),
        "experts",
        "attention sinks; experts have biases",
    ),
    Entry(
        "llama4_text",
        configuration(
            "Llama4TextConfig",
            LLAMA,
            _HEAD,
            {**_LOCAL, "num_experts_per_tok": 1, "interleave_moe_layer_step": 2, "intermediate_size_mlp": 40},
            {"attention_chunk_size": WINDOW, "no_rope_layers": [1, 0], "floor_scale": 4},
        ),
        "experts",
        "chunked attention; a shared expert; an MLP in the first block",
    ),
    Entry(
        "ernie4_5_moe",
        configuration(
            "Ernie4_5_MoeConfig",
            LLAMA,
            {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 24, "moe_num_shared_experts": 1},
        ),
        "experts",
        "the first block has an MLP",
    ),
    Entry(
        "glm4_moe",
        configuration("Glm4MoeConfig", LLAMA, _DENSE_FIRST, rope(0.5), {"use_qk_norm": True}),
        "experts",
        "the first block has an MLP",
    ),
    Entry(
        "jetmoe",
        configuration("JetMoeConfig", without(LLAMA, "num_attention_heads"), _LOCAL, {"kv_channels": 8}),
        "experts",
        "experts in attention too",
    ),
    Entry("minimax_m2", configuration("MiniMaxM2Config", LLAMA, _HEAD, _LOCAL), "experts"),
    Entry(
        "afmoe",
        configuration(
            "AfmoeConfig",
            LLAMA,
            _HEAD,
            {**EXPERTS, **_SLIDING, "num_dense_layers": 1, "num_shared_experts": 1, "mup_enabled": True},
            {"route_scale": 1.5},
        ),
        "experts",
        "norms before and after each sublayer; gated attention",
    ),
    Entry(
        "laguna",
        configuration(
            "LagunaConfig",
            LLAMA,
            _HEAD,
            {
                **EXPERTS,
                **_SLIDING,
                "shared_expert_intermediate_size": 24,
                "mlp_layer_types": ["dense", "sparse"],
            },
        ),
        "experts",
        "gated attention",
    ),
)

LATENT_ATTENTION: tuple[Entry, ...] = (
    Entry("deepseek_v2", configuration("DeepseekV2Config", LLAMA, LATENT, _DENSE_FIRST), "experts"),
    Entry(
        "deepseek_v2-lite",
        configuration("DeepseekV2Config", LLAMA, LATENT, _DENSE_FIRST, {"q_lora_rank": None}),
        "experts",
        "queries are not compressed",
    ),
    Entry("deepseek_v3", configuration("DeepseekV3Config", LLAMA, LATENT, _DENSE_FIRST), "experts"),
    Entry(
        "deepseek_v3-bias",
        configuration("DeepseekV3Config", LLAMA, LATENT, _DENSE_FIRST, {"attention_bias": True}),
        "experts",
    ),
    Entry("glm4_moe_lite", configuration("Glm4MoeLiteConfig", LLAMA, LATENT, _DENSE_FIRST_BY_TYPE), "experts"),
    Entry(
        "glm_moe_dsa",
        configuration(
            "GlmMoeDsaConfig",
            LLAMA,
            LATENT,
            _DENSE_FIRST_BY_TYPE,
            {"index_topk": WINDOW, "index_head_dim": 8, "index_n_heads": 2, "head_dim": 4},
        ),
        "experts",
        "attends to the best few positions only",
    ),
    Entry(
        "deepseek_v4",
        configuration(
            "DeepseekV4Config",
            LLAMA,
            without(_ROUTED, "n_group", "topk_group"),
            {"num_key_value_heads": 1, "head_dim": 8, "q_lora_rank": 16, "o_groups": 2, "o_lora_rank": 8},
            {
                "index_n_heads": 2,
                "index_head_dim": 8,
                "index_topk": 4,
                "sliding_window": WINDOW,
                "hc_mult": 2,
            },
        ),
        "experts",
        "several residual streams",
    ),
)
