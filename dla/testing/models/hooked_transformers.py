"""Tiny `HookedTransformer`s, one for each switch of its configuration (TransformerLens 3 only)."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import torch

from dla.testing.models.randomise import randomise
from dla.testing.models.word_tokenizer import VOCABULARY_SIZE, tokenizer

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

SIZES: Mapping[str, Any] = MappingProxyType(
    {
        "n_layers": 2,
        "d_model": 32,
        "d_head": 8,
        "n_heads": 4,
        "d_mlp": 48,
        "n_ctx": 32,
        "d_vocab": VOCABULARY_SIZE,
        "act_fn": "gelu",
        "device": "cpu",
    }
)
"""What every entry shares, unless its own switches say otherwise."""

_RMS = {"normalization_type": "RMS"}
_NO_NORM: Mapping[str, Any] = {"normalization_type": None}
_GATED = {"gated_mlp": True, "act_fn": "silu"}
_ROTARY = {"positional_embedding_type": "rotary", "rotary_dim": 8}
_EXPERTS = {**_GATED, "num_experts": 4, "experts_per_token": 2}


@final
@dataclass(frozen=True)
class HookedArchitecture:
    """A tiny `HookedTransformer` with every parameter random.

    Attributes:
        name: Unique in the catalogue.
        switches: What its configuration sets on top of `SIZES`.
        processes: Whether weight processing leaves its log-probabilities unchanged. Where it does not, the
            processed model is a different model, with logits of its own.
    """

    name: str
    switches: Mapping[str, Any] = field(default_factory=dict)
    processes: bool = True

    def model(
        self, seed: int = 0, dtype: torch.dtype = torch.float32, processed: bool = False, fold_value_biases: bool = True
    ) -> "HookedTransformer":
        """Builds the model, in evaluation mode and with the tiny tokenizer.

        Args:
            seed: Selects the weights.
            dtype: The type of the parameters; the same seed gives the same weights up to rounding.
            processed: Process the weights: fold norms, centre the unembedding and what is written to the stream.
            fold_value_biases: Whether processing moves value biases from the heads into `b_O`.

        Raises:
            ImportError: With TransformerLens 4 or later, which has no `HookedTransformer`.
        """
        model_class, config_class = _hooked_transformer()
        config = config_class(**{**SIZES, **self.switches, "dtype": dtype})
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.manual_seed(seed)
            model: HookedTransformer = model_class(config, tokenizer=tokenizer()).to(dtype, print_details=False).eval()
        randomise(model, seed)
        if processed:
            weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            folds = config.normalization_type in ("LN", "RMS")
            model.load_and_process_state_dict(weights, fold_ln=folds, fold_value_biases=fold_value_biases)
        return model


def _hooked_transformer() -> tuple[Any, Any]:
    try:
        from transformer_lens import HookedTransformer, HookedTransformerConfig  # noqa: PLC0415 gone in 4
    except ImportError as error:
        raise ImportError(
            "HOOKED entries need HookedTransformer, which TransformerLens 4 does not have. Use an entry of "
            "HUGGING_FACE, or install 'transformer-lens<4'."
        ) from error
    return HookedTransformer, HookedTransformerConfig


HOOKED: tuple[HookedArchitecture, ...] = (
    HookedArchitecture("ln"),
    HookedArchitecture("ln-pre", {"normalization_type": "LNPre"}),
    HookedArchitecture("rms", _RMS),
    HookedArchitecture("rms-pre", {"normalization_type": "RMSPre"}),
    HookedArchitecture("no-norm", _NO_NORM),
    HookedArchitecture("attention-only", {"attn_only": True}),
    HookedArchitecture("attention-only-rms", {"attn_only": True, **_RMS}),
    HookedArchitecture("attention-only-no-norm", {"attn_only": True, **_NO_NORM}),
    # No hook_resid_mid.
    HookedArchitecture("parallel", {"parallel_attn_mlp": True}),
    HookedArchitecture("parallel-rotary", {"parallel_attn_mlp": True, **_ROTARY, "rotary_dim": 4}),
    # Folding drops the norm's bias at the gate.
    HookedArchitecture("gated", _GATED, processes=False),
    HookedArchitecture("gated-rms-rotary", {**_GATED, **_RMS, **_ROTARY}),
    # No hook_pos_embed.
    HookedArchitecture("rotary", _ROTARY),
    HookedArchitecture("rotary-adjacent", {**_ROTARY, "rotary_adjacent_pairs": True}),
    HookedArchitecture("alibi", {"positional_embedding_type": "alibi"}),
    # hook_pos_embed is added to queries and keys, not to the residual stream.
    HookedArchitecture("shortformer", {"positional_embedding_type": "shortformer"}, processes=False),
    HookedArchitecture("grouped-query", {"n_key_value_heads": 2}),
    HookedArchitecture("grouped-query-rms-rotary", {"n_key_value_heads": 2, **_RMS, **_ROTARY}),
    HookedArchitecture("multi-query", {"n_key_value_heads": 1}),
    HookedArchitecture("ungrouped", {"n_key_value_heads": 2, "ungroup_grouped_query_attention": True}),
    # Folding drops the norm's bias at the experts and their router.
    HookedArchitecture("experts", _EXPERTS, processes=False),
    HookedArchitecture("experts-rms-rotary", {**_EXPERTS, **_RMS, **_ROTARY}),
    HookedArchitecture("experts-normalised", {**_EXPERTS, **_RMS, "norm_topk_prob": True}),
    HookedArchitecture("logits-soft-cap", {"output_logits_soft_cap": 2.0}, processes=False),
    HookedArchitecture("logits-soft-cap-rms", {"output_logits_soft_cap": 2.0, **_RMS}, processes=False),
    HookedArchitecture("scores-soft-cap", {"attn_scores_soft_cap": 1.0}),
    # With LayerNorm, TransformerLens 3.9 cannot build it: UnboundLocalError.
    HookedArchitecture("norm-after-rms", {"use_normalization_before_and_after": True, **_RMS, **_ROTARY}),
    # The final norm does not centre, the others do.
    HookedArchitecture("final-rms", {"final_rms": True}, processes=False),
    # A norm after hook_embed.
    HookedArchitecture("embedding-norm", {"post_embedding_ln": True}),
    # Fewer output tokens than input tokens.
    HookedArchitecture("output-vocabulary", {"d_vocab_out": 17}),
    # More output tokens than input tokens.
    HookedArchitecture("wide-output-vocabulary", {"d_vocab_out": 2 * VOCABULARY_SIZE}),
    HookedArchitecture("attention-result", {"use_attn_result": True}),
    HookedArchitecture("split-qkv", {"use_split_qkv_input": True}),
    HookedArchitecture("split-attention-input", {"use_attn_in": True}),
    HookedArchitecture("mlp-input", {"use_hook_mlp_in": True}),
    HookedArchitecture(
        "split-grouped-query", {"use_split_qkv_input": True, "use_hook_mlp_in": True, "n_key_value_heads": 2}
    ),
    HookedArchitecture("query-key-norm", {"use_qk_norm": True, **_RMS, **_ROTARY}),
    # A norm inside the MLP, before hook_post.
    HookedArchitecture("solu", {"act_fn": "solu_ln"}),
    HookedArchitecture("solu-final-rms", {"act_fn": "solu_ln", "final_rms": True}, processes=False),
    HookedArchitecture("local", {"use_local_attn": True, "window_size": 3, "attn_types": ["global", "local"]}),
    HookedArchitecture("clipped-qkv", {"clip_qkv": 0.5}, processes=False),
    # Attention patterns sum to less than 1, so value biases do not fold.
    HookedArchitecture("sinks", {"use_attention_sinks": True, **_ROTARY}, processes=False),
    HookedArchitecture("scaled-by-layer", {"scale_attn_by_inverse_layer_idx": True}),
    HookedArchitecture("one-layer", {"n_layers": 1}),
    HookedArchitecture("wide-heads", {"d_head": 12}),
    HookedArchitecture("bidirectional", {"attention_dir": "bidirectional"}),
)
"""All entries; `processes` was measured with TransformerLens 3.9."""
