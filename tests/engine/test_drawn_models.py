"""Models of drawn shapes and switches, not those of any catalogue: their rows add up to their own logits."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from subjects import LINE, any_decomposer, needs_hooked_transformer, some_ids, some_tokens

import dla
from dla.testing import assert_reconstructs
from dla.testing.models import VOCABULARY_SIZE, HookedArchitecture, HuggingFaceArchitecture

Switches = Mapping[str, Any]
NORMS = ("LN", "LNPre", "RMS", "RMSPre", None)
seeds = st.integers(0, 2**16)
dtypes = st.sampled_from([torch.float32, torch.float64])


@st.composite
def hooked_switches(draw: st.DrawFn) -> dict[str, Any]:
    """A configuration of HookedTransformer, within what the class can build."""
    n_heads, d_head = draw(st.integers(1, 4)), 2 * draw(st.integers(1, 4))
    switches: dict[str, Any] = {
        "n_layers": draw(st.integers(1, 3)),
        "n_heads": n_heads,
        "d_head": d_head,
        "d_model": draw(st.integers(6, 24)),
        "d_mlp": draw(st.integers(1, 20)),
        "normalization_type": draw(st.sampled_from(NORMS)),
        **draw(st.sampled_from([{}, {"attn_only": True}, {"parallel_attn_mlp": True}])),
        "use_attn_result": draw(st.booleans()),
    }
    if draw(st.booleans()):
        switches |= {"gated_mlp": True, "act_fn": "silu"}
    if draw(st.booleans()):
        switches |= {"positional_embedding_type": "rotary", "rotary_dim": d_head}
    groups = draw(st.sampled_from([n for n in range(1, n_heads + 1) if n_heads % n == 0]))
    return switches | ({"n_key_value_heads": groups} if groups < n_heads else {})


@needs_hooked_transformer
@given(
    switches=hooked_switches(), seed=seeds, dtype=dtypes, processed=st.booleans(), decomposer=any_decomposer,
    width=st.integers(1, 9), batch=st.integers(1, 3),
)  # fmt: skip
def test_any_hooked_transformer_is_reconstructed(
    switches: Switches,
    seed: int,
    dtype: torch.dtype,
    processed: bool,
    decomposer: dla.Decomposer,
    width: int,
    batch: int,
) -> None:
    model = HookedArchitecture("drawn", switches).model(seed, dtype, processed)
    tokens, answers = some_tokens(seed, batch, width), some_ids(seed, batch, width)
    own = model(tokens).gather(-1, answers[..., None]).squeeze(-1).detach()
    result = dla.Attributor(model, decomposer).attribute(tokens, dla.Logit(answers), pos=None)
    assert_reconstructs(result, own, eps=torch.finfo(dtype).eps)


@st.composite
def widths(draw: st.DrawFn) -> dict[str, int]:
    """Sizes in the words that this file's configurations share."""
    heads, groups = draw(st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (6, 3)]))
    return {
        "layers": draw(st.integers(1, 3)),
        "heads": heads,
        "groups": groups,
        "d_head": 4 * draw(st.integers(1, 3)),
        "d_mlp": draw(st.integers(1, 24)),
    }


_TOKENS = {"vocab_size": VOCABULARY_SIZE, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


def _gpt2_like(class_name: str, **more: Any) -> Callable[[Mapping[str, int]], Any]:
    def make(sizes: Mapping[str, int]) -> Any:
        return getattr(transformers, class_name)(
            n_embd=sizes["heads"] * sizes["d_head"],
            n_layer=sizes["layers"],
            n_head=sizes["heads"],
            n_inner=sizes["d_mlp"],
            n_positions=32,
            **_TOKENS,
            **more,
        )

    return make


def _llama_like(class_name: str, grouped: bool = True, **more: Any) -> Callable[[Mapping[str, int]], Any]:
    def make(sizes: Mapping[str, int]) -> Any:
        groups = {"num_key_value_heads": sizes["groups"]} if grouped else {}
        return getattr(transformers, class_name)(
            hidden_size=sizes["heads"] * sizes["d_head"],
            num_hidden_layers=sizes["layers"],
            num_attention_heads=sizes["heads"],
            intermediate_size=sizes["d_mlp"],
            max_position_embeddings=32,
            **_TOKENS,
            **groups,
            **more,
        )

    return make


def _opt(sizes: Mapping[str, int]) -> Any:
    d_model = sizes["heads"] * sizes["d_head"]
    return transformers.OPTConfig(
        hidden_size=d_model,
        word_embed_proj_dim=d_model,
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        ffn_dim=sizes["d_mlp"],
        max_position_embeddings=32,
        **_TOKENS,
    )


def _bloom(sizes: Mapping[str, int]) -> Any:
    d_model = sizes["heads"] * sizes["d_head"]
    return transformers.BloomConfig(hidden_size=d_model, n_layer=sizes["layers"], n_head=sizes["heads"], **_TOKENS)


def _falcon(sizes: Mapping[str, int]) -> Any:
    return transformers.FalconConfig(
        hidden_size=sizes["heads"] * sizes["d_head"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        ffn_hidden_size=sizes["d_mlp"],
        **_TOKENS,
    )


FAMILIES: dict[str, Callable[[Mapping[str, int]], Any]] = {
    "gpt2": _gpt2_like("GPT2Config"),
    "gptj": _gpt2_like("GPTJConfig", rotary_dim=4, tie_word_embeddings=False),
    "gpt_neox": _llama_like("GPTNeoXConfig", grouped=False),
    "gpt_neox-serial": _llama_like("GPTNeoXConfig", grouped=False, use_parallel_residual=False),
    "opt": _opt,
    "bloom": _bloom,
    "falcon": _falcon,
    "llama": _llama_like("LlamaConfig"),
    "llama-biases": _llama_like("LlamaConfig", attention_bias=True, mlp_bias=True),
    "mistral": _llama_like("MistralConfig", sliding_window=3, head_dim=8),
    "qwen2": _llama_like("Qwen2Config", tie_word_embeddings=True),
    "qwen3": _llama_like("Qwen3Config", head_dim=6),
    "phi": _llama_like("PhiConfig", grouped=False),
}
kinds = st.sampled_from([(False, torch.float32), (False, torch.float64), (True, torch.float32)])
"""Compatibility mode or not, and the dtype; in float64, some bridges do not run in compatibility mode."""

IN_FLOAT32 = ("gpt_neox", "gpt_neox-serial", "llama", "llama-biases", "mistral", "qwen2", "qwen3", "phi")


@pytest.mark.parametrize("family", FAMILIES)
@given(
    sizes=widths(), seed=seeds, kind=kinds, decomposer=any_decomposer,
    width=st.integers(1, 9), batch=st.integers(1, 3),
)  # fmt: skip
def test_any_bridge_is_reconstructed(
    family: str,
    sizes: Mapping[str, int],
    seed: int,
    kind: tuple[bool, torch.dtype],
    decomposer: dla.Decomposer,
    width: int,
    batch: int,
) -> None:
    compatible, dtype = kind
    entry = HuggingFaceArchitecture("drawn", lambda: FAMILIES[family](sizes))
    model = entry.bridge("compatibility" if compatible else "raw", seed, dtype, tokenizer=False)
    tokens, answers = some_tokens(seed, batch, width), some_ids(seed, batch, width)
    with torch.no_grad():
        logits = model(tokens) if compatible else entry.hugging_face(seed, dtype)(tokens).logits
    own = logits.gather(-1, answers[..., None]).squeeze(-1)
    result = dla.Attributor(model, decomposer).attribute(tokens, dla.Logit(answers), pos=None)
    rounds = family in IN_FLOAT32
    assert_reconstructs(result, own, eps=torch.finfo(torch.float32 if rounds else dtype).eps)


def test_this_line_of_transformer_lens_is_one_that_is_supported() -> None:
    assert LINE in (3, 4)
