"""GPT-2 and its contemporaries: LayerNorm with biases, learned positions, ALiBi, first parallel blocks."""

from dla.testing.models.hugging_face.architecture import HuggingFaceArchitecture, tiny
from dla.testing.models.hugging_face.sizes import GPT2, MULTI_HEAD, TOKENS, WINDOW, rope, without

_NEO = {**TOKENS, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "intermediate_size": 48}
_TIED = {**without(MULTI_HEAD, "intermediate_size"), "tie_word_embeddings": True}
_OPT = {**_TIED, "ffn_dim": 48}
_FALCON = {**_TIED, "ffn_hidden_size": 48}
_FALCON_NEW = {**_FALCON, "new_decoder_architecture": True, "multi_query": False, "num_kv_heads": 2}
_MPT = {**TOKENS, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64, "expansion_ratio": 2}
_XGLM = {**TOKENS, "d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48, "max_position_embeddings": 64}

GPT: tuple[HuggingFaceArchitecture, ...] = (
    tiny("gpt2", "GPT2Config", GPT2),
    tiny("gpt2-untied", "GPT2Config", GPT2, {"tie_word_embeddings": False}),
    # Attention scores are divided by layer index + 1.
    tiny(
        "gpt2-scaled-attention",
        "GPT2Config",
        GPT2,
        {"scale_attn_by_inverse_layer_idx": True, "activation_function": "relu"},
    ),
    # Post-norm: the norms sit on the residual stream, and there is no final norm.
    tiny("openai-gpt", "OpenAIGPTConfig", without(GPT2, "n_inner")),
    # Local attention in every second block, no attention scale.
    tiny(
        "gpt_neo",
        "GPTNeoConfig",
        _NEO,
        {"attention_types": [[["global", "local"], 1]], "window_size": WINDOW, "max_position_embeddings": 64},
    ),
    # Parallel blocks with two norms.
    tiny("gpt_neox", "GPTNeoXConfig", MULTI_HEAD, rope(0.5)),
    tiny("gpt_neox-serial", "GPTNeoXConfig", MULTI_HEAD, rope(0.5), {"use_parallel_residual": False}),
    # Parallel; unembedding bias.
    tiny("gptj", "GPTJConfig", GPT2, {"rotary_dim": 4}),
    # Parallel; unembedding bias.
    tiny("codegen", "CodeGenConfig", without(GPT2, "pad_token_id"), {"rotary_dim": 4}),
    tiny("opt", "OPTConfig", _OPT),
    # Post-norm without a final norm; linear maps between embedding space and residual stream.
    tiny("opt-projected", "OPTConfig", _OPT, {"do_layer_norm_before": False, "word_embed_proj_dim": 16}),
    tiny("opt-no-bias", "OPTConfig", _OPT, {"enable_bias": False}),
    # A norm between the embedding and block 0.
    tiny("bloom", "BloomConfig", TOKENS, {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    # The residual connection starts after the norm of each sublayer.
    tiny(
        "bloom-post-residual",
        "BloomConfig",
        TOKENS,
        {"hidden_size": 32, "n_layer": 2, "n_head": 4, "apply_residual_connection_post_layernorm": True},
    ),
    # Parallel, multi-query, one norm.
    tiny("falcon", "FalconConfig", _FALCON),
    tiny("falcon-bias", "FalconConfig", _FALCON, {"bias": True}),
    # Parallel with two norms; a bridge splits queries, keys and values wrongly.
    tiny("falcon-new", "FalconConfig", _FALCON_NEW, unfaithful=(3, 4)),
    # Serial.
    tiny("falcon-alibi", "FalconConfig", _FALCON, {"alibi": True, "parallel_attn": False, "multi_query": False}),
    # Norms have no bias.
    tiny("mpt", "MptConfig", _MPT),
    # Multi-query.
    tiny("gpt_bigcode", "GPTBigCodeConfig", GPT2),
    # Sinusoidal positions; embeddings times sqrt(d_model); transformers cannot run it in float64.
    tiny("xglm", "XGLMConfig", _XGLM),
)
