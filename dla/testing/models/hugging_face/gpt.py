"""GPT-2 and its contemporaries: LayerNorm with biases, learned positions, ALiBi, first parallel blocks."""

from dla.testing.models.hugging_face.architecture import HuggingFaceArchitecture as Entry
from dla.testing.models.hugging_face.sizes import (
    GPT2,
    MULTI_HEAD,
    TOKENS,
    WINDOW,
    configuration,
    rope,
    without,
)

_NEO = {**TOKENS, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "intermediate_size": 48}
_TIED = {**without(MULTI_HEAD, "intermediate_size"), "tie_word_embeddings": True}
_OPT = {**_TIED, "ffn_dim": 48}
_FALCON = {**_TIED, "ffn_hidden_size": 48}
_FALCON_NEW = {**_FALCON, "new_decoder_architecture": True, "multi_query": False, "num_kv_heads": 2}
_MPT = {**TOKENS, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64, "expansion_ratio": 2}
_XGLM = {
    **TOKENS,
    "d_model": 32,
    "num_layers": 2,
    "attention_heads": 4,
    "ffn_dim": 48,
    "max_position_embeddings": 64,
}

GPT: tuple[Entry, ...] = (
    Entry("gpt2", configuration("GPT2Config", GPT2)),
    Entry("gpt2-untied", configuration("GPT2Config", GPT2, {"tie_word_embeddings": False})),
    Entry(
        "gpt2-scaled-attention",
        configuration("GPT2Config", GPT2, {"scale_attn_by_inverse_layer_idx": True, "activation_function": "relu"}),
        notes="attention scores are divided by layer index + 1",
    ),
    Entry(
        "openai-gpt",
        configuration("OpenAIGPTConfig", without(GPT2, "n_inner")),
        notes="post-norm: the norms sit on the residual stream, and there is no final norm",
    ),
    Entry(
        "gpt_neo",
        configuration(
            "GPTNeoConfig",
            _NEO,
            {
                "attention_types": [[["global", "local"], 1]],
                "window_size": WINDOW,
                "max_position_embeddings": 64,
            },
        ),
        notes="local attention in every second block, no attention scale",
    ),
    Entry(
        "gpt_neox",
        configuration("GPTNeoXConfig", MULTI_HEAD, rope(0.5)),
        notes="parallel blocks with two norms",
    ),
    Entry(
        "gpt_neox-serial",
        configuration("GPTNeoXConfig", MULTI_HEAD, rope(0.5), {"use_parallel_residual": False}),
    ),
    Entry("gptj", configuration("GPTJConfig", GPT2, {"rotary_dim": 4}), notes="parallel; unembedding bias"),
    Entry(
        "codegen",
        configuration("CodeGenConfig", without(GPT2, "pad_token_id"), {"rotary_dim": 4}),
        notes="parallel; unembedding bias",
    ),
    Entry("opt", configuration("OPTConfig", _OPT)),
    Entry(
        "opt-projected",
        configuration("OPTConfig", _OPT, {"do_layer_norm_before": False, "word_embed_proj_dim": 16}),
        notes="post-norm without a final norm; linear maps between embedding space and residual stream",
    ),
    Entry("opt-no-bias", configuration("OPTConfig", _OPT, {"enable_bias": False})),
    Entry(
        "bloom",
        configuration("BloomConfig", TOKENS, {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
        notes="a norm between the embedding and block 0",
    ),
    Entry(
        "bloom-post-residual",
        configuration(
            "BloomConfig",
            TOKENS,
            {"hidden_size": 32, "n_layer": 2, "n_head": 4, "apply_residual_connection_post_layernorm": True},
        ),
        notes="the residual connection starts after the norm of each sublayer",
    ),
    Entry("falcon", configuration("FalconConfig", _FALCON), notes="parallel, multi-query, one norm"),
    Entry("falcon-bias", configuration("FalconConfig", _FALCON, {"bias": True})),
    Entry(
        "falcon-new",
        configuration("FalconConfig", _FALCON_NEW),
        notes="parallel with two norms; a bridge splits queries, keys and values wrongly",
        unfaithful=(3, 4),
    ),
    Entry(
        "falcon-alibi",
        configuration("FalconConfig", _FALCON, {"alibi": True, "parallel_attn": False, "multi_query": False}),
        notes="serial",
    ),
    Entry("mpt", configuration("MptConfig", _MPT), notes="norms have no bias"),
    Entry("gpt_bigcode", configuration("GPTBigCodeConfig", GPT2), notes="multi-query"),
    Entry(
        "xglm",
        configuration("XGLMConfig", _XGLM),
        notes="sinusoidal positions; embeddings times sqrt(d_model); transformers cannot run it in float64",
    ),
)
