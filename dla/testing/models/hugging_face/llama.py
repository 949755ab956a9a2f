"""Llama and its relatives: RMSNorm before each sublayer, rotary positions, gated MLP."""

from dla.testing.models.hugging_face.architecture import HuggingFaceArchitecture as Entry
from dla.testing.models.hugging_face.sizes import LATENT, LLAMA, MULTI_HEAD, WINDOW, configuration, rope

_HEAD = {"head_dim": 8}
_WIDE = {"head_dim": 12}
_BIASES = {"attention_bias": True, "mlp_bias": True}
_SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_GRANITE = {
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.6,
    "attention_multiplier": 0.3,
    "logits_scaling": 2.0,
}

LLAMA_LIKE: tuple[Entry, ...] = (
    Entry("llama", configuration("LlamaConfig", LLAMA)),
    Entry("llama-tied", configuration("LlamaConfig", LLAMA, {"tie_word_embeddings": True})),
    Entry("llama-biases", configuration("LlamaConfig", LLAMA, _BIASES)),
    Entry("llama-multi-head", configuration("LlamaConfig", LLAMA, {"num_key_value_heads": 4})),
    Entry("llama-wide-heads", configuration("LlamaConfig", LLAMA, _WIDE)),
    Entry("mistral", configuration("MistralConfig", LLAMA, _HEAD, {"sliding_window": WINDOW})),
    Entry("ministral3", configuration("Ministral3Config", LLAMA, _HEAD, {"sliding_window": WINDOW})),
    Entry("qwen2", configuration("Qwen2Config", LLAMA), notes="biases on queries, keys and values"),
    Entry("qwen2-tied", configuration("Qwen2Config", LLAMA, {"tie_word_embeddings": True})),
    Entry("qwen3", configuration("Qwen3Config", LLAMA, _WIDE), notes="norms on queries and keys"),
    Entry("qwen3-bias", configuration("Qwen3Config", LLAMA, _HEAD, {"attention_bias": True})),
    Entry("phi3", configuration("Phi3Config", LLAMA), notes="fused queries, keys and values; fused gate"),
    Entry("phi3-partial-rotary", configuration("Phi3Config", LLAMA, rope(0.5))),
    Entry("arcee", configuration("ArceeConfig", LLAMA, _BIASES), notes="ungated MLP, relu squared"),
    Entry("apertus", configuration("ApertusConfig", LLAMA, {"attention_bias": True}), notes="ungated MLP, xIELU"),
    Entry(
        "bitnet",
        configuration("BitNetConfig", LLAMA),
        notes="norms inside attention and MLP, before W_O and W_out",
    ),
    Entry("smollm3", configuration("SmolLM3Config", LLAMA, {"no_rope_layers": [1, 0]})),
    Entry("seed_oss", configuration("SeedOssConfig", LLAMA, _HEAD, {"attention_out_bias": True})),
    Entry("ernie4_5", configuration("Ernie4_5Config", LLAMA, _HEAD)),
    Entry("ernie4_5-bias", configuration("Ernie4_5Config", LLAMA, _HEAD, {"use_bias": True})),
    Entry("hunyuan_v1_dense", configuration("HunYuanDenseV1Config", LLAMA, _HEAD), unfaithful=(3,)),
    Entry("glm", configuration("GlmConfig", LLAMA, _HEAD, rope(0.5))),
    Entry(
        "glm4",
        configuration("Glm4Config", LLAMA, _HEAD, rope(0.5)),
        notes="norms before and after each sublayer",
    ),
    Entry("olmo", configuration("OlmoConfig", LLAMA, {"clip_qkv": 0.5}), notes="LayerNorm without weights"),
    Entry("olmo2", configuration("Olmo2Config", LLAMA), notes="norms after each sublayer only"),
    Entry("olmo3", configuration("Olmo3Config", LLAMA, _SLIDING), notes="norms after each sublayer only"),
    Entry("exaone4", configuration("Exaone4Config", LLAMA, _SLIDING), notes="norms after each sublayer only"),
    Entry(
        "granite",
        configuration("GraniteConfig", LLAMA, _GRANITE),
        notes="sublayers are scaled before they are added",
    ),
    Entry("granite-biases", configuration("GraniteConfig", LLAMA, _GRANITE, _BIASES)),
    Entry(
        "nanochat",
        configuration("NanoChatConfig", LLAMA, {"final_logit_softcapping": 2.0}),
        notes="norms without weights",
    ),
    Entry(
        "youtu",
        configuration("YoutuConfig", LLAMA, LATENT, {"initializer_range": 0.02}),
        notes="multi-head latent attention, dense MLP",
    ),
    Entry(
        "hrm_text",
        configuration(
            "HrmTextConfig",
            MULTI_HEAD,
            _HEAD,
            {"num_hidden_layers": 1, "L_cycles": 2, "embedding_scale": 2.0},
        ),
        notes="two stacks of blocks that run several times",
    ),
)

LAYER_NORM: tuple[Entry, ...] = (
    Entry("phi", configuration("PhiConfig", MULTI_HEAD, rope(0.5)), notes="parallel, one norm; unembedding bias"),
    Entry("phi-grouped-query", configuration("PhiConfig", LLAMA, rope(0.5))),
    Entry("stablelm", configuration("StableLmConfig", LLAMA, rope(0.5), {"use_qkv_bias": True})),
    Entry(
        "stablelm-parallel",
        configuration("StableLmConfig", LLAMA, rope(0.5), {"use_parallel_residual": True}),
    ),
    Entry("stablelm-qk-norm", configuration("StableLmConfig", LLAMA, rope(0.5), {"qk_layernorm": True})),
    Entry("starcoder2", configuration("Starcoder2Config", LLAMA, {"sliding_window": WINDOW})),
    Entry("nemotron", configuration("NemotronConfig", LLAMA, rope(0.5)), notes="norm weights are 1 + w"),
    Entry("nemotron-biases", configuration("NemotronConfig", LLAMA, rope(0.5), _BIASES)),
    Entry("jais2", configuration("Jais2Config", LLAMA)),
    Entry(
        "cohere",
        configuration("CohereConfig", LLAMA, {"logit_scale": 0.5, "tie_word_embeddings": True}),
        notes="parallel; norms have no bias",
        unfaithful=(3,),
    ),
    Entry(
        "cohere-untied-qk-norm",
        configuration("CohereConfig", LLAMA, {"logit_scale": 0.5, "use_qk_norm": True, "attention_bias": True}),
        lines=(4,),
    ),
    Entry(
        "cohere2",
        configuration("Cohere2Config", LLAMA, _SLIDING, {"logit_scale": 0.5, "tie_word_embeddings": True}),
        notes="parallel; norms have no bias",
        unfaithful=(3,),
    ),
    Entry(
        "modernbert-decoder",
        configuration(
            "ModernBertDecoderConfig",
            MULTI_HEAD,
            {"layer_types": _SLIDING["layer_types"], "local_attention": 2 * WINDOW, "norm_bias": True},
            {"cls_token_id": 0, "sep_token_id": 1},
        ),
        notes="a norm after the embedding; a dense layer and a norm before the unembedding, which has a bias",
    ),
)
