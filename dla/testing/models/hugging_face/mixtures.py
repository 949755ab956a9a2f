"""Mixtures of experts, and multi-head latent attention, which came with them."""

from functools import partial

from dla.testing.models.hugging_face.architecture import HuggingFaceArchitecture, tiny
from dla.testing.models.hugging_face.sizes import EXPERTS, GRANITE, LATENT, LLAMA, WINDOW, rope, without

_mixture = partial(tiny, kind="experts")

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

MIXTURES: tuple[HuggingFaceArchitecture, ...] = (
    _mixture("mixtral", "MixtralConfig", LLAMA, _LOCAL, {"sliding_window": WINDOW}),
    # Routed experts and a gated shared one.
    _mixture("qwen2_moe", "Qwen2MoeConfig", LLAMA, EXPERTS, _SHARED),
    # The first block has an MLP.
    _mixture("qwen2_moe-dense-first", "Qwen2MoeConfig", LLAMA, EXPERTS, _SHARED, {"mlp_only_layers": [0]}),
    _mixture("qwen3_moe", "Qwen3MoeConfig", LLAMA, EXPERTS),
    # LayerNorm; unembedding bias.
    _mixture(
        "phimoe",
        "PhimoeConfig",
        LLAMA,
        _LOCAL,
        {"attention_bias": True, "lm_head_bias": True},
        bridged_as="PhiMoEForCausalLM",
    ),
    _mixture("olmoe", "OlmoeConfig", LLAMA, _PLAIN, {"clip_qkv": 0.5}),
    # Norms after each sublayer only.
    _mixture("flex_olmo", "FlexOlmoConfig", LLAMA, _PLAIN),
    _mixture("granitemoe", "GraniteMoeConfig", LLAMA, _LOCAL, GRANITE),
    # Attention sinks; experts have biases.
    _mixture("gpt_oss", "GptOssConfig", LLAMA, _HEAD, _LOCAL, _SLIDING),
    # Chunked attention; a shared expert; an MLP in the first block.
    _mixture(
        "llama4_text",
        "Llama4TextConfig",
        LLAMA,
        _HEAD,
        {**_LOCAL, "num_experts_per_tok": 1, "interleave_moe_layer_step": 2, "intermediate_size_mlp": 40},
        {"attention_chunk_size": WINDOW, "no_rope_layers": [1, 0], "floor_scale": 4},
    ),
    # The first block has an MLP.
    _mixture(
        "ernie4_5_moe",
        "Ernie4_5_MoeConfig",
        LLAMA,
        {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 24, "moe_num_shared_experts": 1},
    ),
    # The first block has an MLP.
    _mixture("glm4_moe", "Glm4MoeConfig", LLAMA, _DENSE_FIRST, rope(0.5), {"use_qk_norm": True}),
    # Experts in attention too.
    _mixture("jetmoe", "JetMoeConfig", without(LLAMA, "num_attention_heads"), _LOCAL, {"kv_channels": 8}),
    _mixture("minimax_m2", "MiniMaxM2Config", LLAMA, _HEAD, _LOCAL),
    # Norms before and after each sublayer; gated attention.
    _mixture(
        "afmoe",
        "AfmoeConfig",
        LLAMA,
        _HEAD,
        {**EXPERTS, **_SLIDING, "num_dense_layers": 1, "num_shared_experts": 1, "mup_enabled": True},
        {"route_scale": 1.5},
    ),
    # Gated attention.
    _mixture(
        "laguna",
        "LagunaConfig",
        LLAMA,
        _HEAD,
        {**EXPERTS, **_SLIDING, "shared_expert_intermediate_size": 24, "mlp_layer_types": ["dense", "sparse"]},
    ),
)

LATENT_ATTENTION: tuple[HuggingFaceArchitecture, ...] = (
    _mixture("deepseek_v2", "DeepseekV2Config", LLAMA, LATENT, _DENSE_FIRST),
    # Queries are not compressed.
    _mixture("deepseek_v2-lite", "DeepseekV2Config", LLAMA, LATENT, _DENSE_FIRST, {"q_lora_rank": None}),
    _mixture("deepseek_v3", "DeepseekV3Config", LLAMA, LATENT, _DENSE_FIRST),
    _mixture("deepseek_v3-bias", "DeepseekV3Config", LLAMA, LATENT, _DENSE_FIRST, {"attention_bias": True}),
    _mixture("glm4_moe_lite", "Glm4MoeLiteConfig", LLAMA, LATENT, _DENSE_FIRST_BY_TYPE),
    # Attends to the best few positions only.
    _mixture(
        "glm_moe_dsa",
        "GlmMoeDsaConfig",
        LLAMA,
        LATENT,
        _DENSE_FIRST_BY_TYPE,
        {"index_topk": WINDOW, "index_head_dim": 8, "index_n_heads": 2, "head_dim": 4},
    ),
    # Several residual streams.
    _mixture(
        "deepseek_v4",
        "DeepseekV4Config",
        LLAMA,
        without(_ROUTED, "n_group", "topk_group"),
        {"num_key_value_heads": 1, "head_dim": 8, "q_lora_rank": 16, "o_groups": 2, "o_lora_rank": 8},
        {"index_n_heads": 2, "index_head_dim": 8, "index_topk": 4, "sliding_window": WINDOW, "hc_mult": 2},
    ),
)
