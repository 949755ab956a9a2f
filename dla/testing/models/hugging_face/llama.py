"""Llama and its relatives: RMSNorm before each sublayer, rotary positions, gated MLP."""

from dla.testing.models.hugging_face.architecture import HuggingFaceArchitecture, tiny
from dla.testing.models.hugging_face.sizes import GRANITE, LATENT, LLAMA, MULTI_HEAD, WINDOW, rope
from dla.testing.models.word_tokenizer import VOCABULARY_SIZE

_HEAD = {"head_dim": 8}
_WIDE = {"head_dim": 12}
_BIASES = {"attention_bias": True, "mlp_bias": True}
_SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}

WIDE_OUTPUT = tiny("llama-wide-output", "LlamaConfig", LLAMA, d_vocab_out=2 * VOCABULARY_SIZE)
"""No architecture of its own: a model with more logits than ids, as padding or added tokens make it."""

LLAMA_LIKE: tuple[HuggingFaceArchitecture, ...] = (
    tiny("llama", "LlamaConfig", LLAMA),
    tiny("llama-tied", "LlamaConfig", LLAMA, {"tie_word_embeddings": True}),
    tiny("llama-biases", "LlamaConfig", LLAMA, _BIASES),
    tiny("llama-multi-head", "LlamaConfig", LLAMA, {"num_key_value_heads": 4}),
    tiny("llama-wide-heads", "LlamaConfig", LLAMA, _WIDE),
    tiny("llama-eight-heads", "LlamaConfig", LLAMA, _HEAD, {"num_attention_heads": 8, "num_key_value_heads": 4}),
    tiny("mistral", "MistralConfig", LLAMA, _HEAD, {"sliding_window": WINDOW}),
    tiny("ministral3", "Ministral3Config", LLAMA, _HEAD, {"sliding_window": WINDOW}),
    # Biases on queries, keys and values.
    tiny("qwen2", "Qwen2Config", LLAMA),
    tiny("qwen2-tied", "Qwen2Config", LLAMA, {"tie_word_embeddings": True}),
    # Norms on queries and keys.
    tiny("qwen3", "Qwen3Config", LLAMA, _WIDE),
    tiny("qwen3-bias", "Qwen3Config", LLAMA, _HEAD, {"attention_bias": True}),
    # Fused queries, keys and values; fused gate.
    tiny("phi3", "Phi3Config", LLAMA),
    tiny("phi3-partial-rotary", "Phi3Config", LLAMA, rope(0.5)),
    # Ungated MLP, relu squared.
    tiny("arcee", "ArceeConfig", LLAMA, _BIASES),
    # Ungated MLP, xIELU.
    tiny("apertus", "ApertusConfig", LLAMA, {"attention_bias": True}),
    # Norms inside attention and MLP, before W_O and W_out.
    tiny("bitnet", "BitNetConfig", LLAMA),
    tiny("smollm3", "SmolLM3Config", LLAMA, {"no_rope_layers": [1, 0]}),
    tiny("seed_oss", "SeedOssConfig", LLAMA, _HEAD, {"attention_out_bias": True}),
    tiny("ernie4_5", "Ernie4_5Config", LLAMA, _HEAD),
    tiny("ernie4_5-bias", "Ernie4_5Config", LLAMA, _HEAD, {"use_bias": True}),
    tiny("hunyuan_v1_dense", "HunYuanDenseV1Config", LLAMA, _HEAD, unfaithful=(3,)),
    tiny("glm", "GlmConfig", LLAMA, _HEAD, rope(0.5)),
    # Norms before and after each sublayer.
    tiny("glm4", "Glm4Config", LLAMA, _HEAD, rope(0.5)),
    # LayerNorm without weights.
    tiny("olmo", "OlmoConfig", LLAMA, {"clip_qkv": 0.5}),
    # Norms after each sublayer only.
    tiny("olmo2", "Olmo2Config", LLAMA),
    # Norms after each sublayer only.
    tiny("olmo3", "Olmo3Config", LLAMA, _SLIDING),
    # Norms after each sublayer only.
    tiny("exaone4", "Exaone4Config", LLAMA, _SLIDING),
    # Sublayers are scaled before they are added.
    tiny("granite", "GraniteConfig", LLAMA, GRANITE),
    tiny("granite-biases", "GraniteConfig", LLAMA, GRANITE, _BIASES),
    # Norms without weights.
    tiny("nanochat", "NanoChatConfig", LLAMA, {"final_logit_softcapping": 2.0}),
    # Multi-head latent attention, dense MLP.
    tiny("youtu", "YoutuConfig", LLAMA, LATENT, {"initializer_range": 0.02}),
    # Two stacks of blocks that run several times.
    tiny(
        "hrm_text", "HrmTextConfig", MULTI_HEAD, _HEAD, {"num_hidden_layers": 1, "L_cycles": 2, "embedding_scale": 2.0}
    ),
)

LAYER_NORM: tuple[HuggingFaceArchitecture, ...] = (
    # Parallel, one norm; unembedding bias.
    tiny("phi", "PhiConfig", MULTI_HEAD, rope(0.5)),
    tiny("phi-grouped-query", "PhiConfig", LLAMA, rope(0.5)),
    tiny("stablelm", "StableLmConfig", LLAMA, rope(0.5), {"use_qkv_bias": True}),
    tiny("stablelm-parallel", "StableLmConfig", LLAMA, rope(0.5), {"use_parallel_residual": True}),
    tiny("stablelm-qk-norm", "StableLmConfig", LLAMA, rope(0.5), {"qk_layernorm": True}),
    tiny("starcoder2", "Starcoder2Config", LLAMA, {"sliding_window": WINDOW}),
    # Norm weights are 1 + w.
    tiny("nemotron", "NemotronConfig", LLAMA, rope(0.5)),
    tiny("nemotron-biases", "NemotronConfig", LLAMA, rope(0.5), _BIASES),
    tiny("jais2", "Jais2Config", LLAMA),
    # Parallel; norms have no bias.
    tiny("cohere", "CohereConfig", LLAMA, {"logit_scale": 0.5, "tie_word_embeddings": True}, unfaithful=(3,)),
    tiny(
        "cohere-untied-qk-norm",
        "CohereConfig",
        LLAMA,
        {"logit_scale": 0.5, "use_qk_norm": True, "attention_bias": True},
        lines=(4,),
    ),
    # Parallel; norms have no bias.
    tiny(
        "cohere2", "Cohere2Config", LLAMA, _SLIDING, {"logit_scale": 0.5, "tie_word_embeddings": True}, unfaithful=(3,)
    ),
    # A norm after the embedding; a dense layer and a norm before the unembedding, which has a bias.
    tiny(
        "modernbert-decoder",
        "ModernBertDecoderConfig",
        MULTI_HEAD,
        {"layer_types": _SLIDING["layer_types"], "local_attention": 2 * WINDOW, "norm_bias": True},
        {"cls_token_id": 0, "sep_token_id": 1},
    ),
)
