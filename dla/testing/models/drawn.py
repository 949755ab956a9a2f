"""Models of any shape and with any switches: a configuration is a value, so that it can be drawn and made smaller."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, final

import torch
import transformers

from dla.testing.models.hooked_transformers import HookedArchitecture
from dla.testing.models.hugging_face import HuggingFaceArchitecture, Mode
from dla.testing.models.hugging_face.sizes import TOKENS

HOOKED_FAMILY = "hooked"
"""The family of `HookedTransformer`s, which exist with TransformerLens 3 only."""


@final
@dataclass(frozen=True)
class Sizes:
    """How large a model is, in words that all families share.

    Attributes:
        layers: Blocks.
        heads: Heads of a block.
        groups: Heads that have keys and values of their own; divides `heads`.
        d_head: Numbers of a head; even.
        d_mlp: Neurons of a block.
    """

    layers: int = 1
    heads: int = 1
    groups: int = 1
    d_head: int = 4
    d_mlp: int = 1

    @property
    def d_model(self) -> int:
        """The width of the stream."""
        return self.heads * self.d_head


@final
@dataclass(frozen=True)
class ModelConfig:
    """A model as a value: what to build, not yet built.

    Attributes:
        family: One of `FAMILIES`, or `HOOKED_FAMILY`.
        sizes: How large it is.
        processed: In compatibility mode, or with processed weights.
        dtype: Of the parameters.
        seed: Selects the weights.
        switches: What a `HookedTransformer`'s configuration sets beside its sizes.

    Raises:
        ValueError: If there is no such family.
    """

    family: str
    sizes: Sizes = Sizes()
    processed: bool = False
    dtype: torch.dtype = torch.float32
    seed: int = 0
    switches: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.family not in (*FAMILIES, HOOKED_FAMILY):
            raise ValueError(f"There is no family {self.family!r}. Pass one of {[*FAMILIES, HOOKED_FAMILY]}.")

    def model(self) -> Any:
        """Builds it: in evaluation mode, every parameter random, without a tokenizer where it is a bridge."""
        if self.family == HOOKED_FAMILY:
            return self._hooked().model(self.seed, self.dtype, self.processed)
        mode: Mode = "compatibility" if self.processed else "raw"
        return self._hugging_face().bridge(mode, self.seed, self.dtype, tokenizer=False)

    def reference(self) -> Any:
        """A function from token ids to logits that owes nothing to the library: Hugging Face's, where there is one."""
        if self.family == HOOKED_FAMILY or self.processed:
            return self.model()
        model = self._hugging_face().hugging_face(self.seed, self.dtype)
        return lambda tokens: model(tokens).logits

    def _hugging_face(self) -> HuggingFaceArchitecture:
        return HuggingFaceArchitecture("drawn", lambda: FAMILIES[self.family](self.sizes))

    def _hooked(self) -> HookedArchitecture:
        sizes = self.sizes
        names = {"n_layers": sizes.layers, "n_heads": sizes.heads, "d_head": sizes.d_head, "d_mlp": sizes.d_mlp}
        grouped = {"n_key_value_heads": sizes.groups} if sizes.groups < sizes.heads else {}
        return HookedArchitecture("drawn", {**names, "d_model": sizes.d_model, **grouped, **self.switches})


_Maker = Callable[[Sizes], Any]

_GPT2 = {"n_embd": "d_model", "n_layer": "layers", "n_head": "heads", "n_inner": "d_mlp"}
_LLAMA = {"hidden_size": "d_model", "num_hidden_layers": "layers", "num_attention_heads": "heads"}
_MULTI_HEAD = {**_LLAMA, "intermediate_size": "d_mlp"}
_GROUPED = {**_MULTI_HEAD, "num_key_value_heads": "groups"}
_OPT = {**_LLAMA, "word_embed_proj_dim": "d_model", "ffn_dim": "d_mlp"}
_BLOOM = {"hidden_size": "d_model", "n_layer": "layers", "n_head": "heads"}
"""What a configuration class calls each of the `Sizes`."""


_CONTEXT = {"max_position_embeddings": 32}


def _family(
    class_name: str, names: Mapping[str, str], switches: Mapping[str, Any] = MappingProxyType(_CONTEXT)
) -> _Maker:
    """Makes configurations of one class, with its own names for the sizes and some of its switches set."""

    def make(sizes: Sizes) -> Any:
        own = {name: getattr(sizes, size) for name, size in names.items()}
        return getattr(transformers, class_name)(**own, **TOKENS, **switches)

    return make


FAMILIES: Mapping[str, _Maker] = MappingProxyType(
    {
        "gpt2": _family("GPT2Config", _GPT2, {"n_positions": 32}),
        "gptj": _family("GPTJConfig", _GPT2, {"n_positions": 32, "rotary_dim": 4, "tie_word_embeddings": False}),
        "gpt_neox": _family("GPTNeoXConfig", _MULTI_HEAD),
        "gpt_neox-serial": _family("GPTNeoXConfig", _MULTI_HEAD, {**_CONTEXT, "use_parallel_residual": False}),
        "opt": _family("OPTConfig", _OPT),
        "bloom": _family("BloomConfig", _BLOOM, {}),
        "falcon": _family("FalconConfig", {**_LLAMA, "ffn_hidden_size": "d_mlp"}, {}),
        "llama": _family("LlamaConfig", _GROUPED),
        "llama-biases": _family("LlamaConfig", _GROUPED, {**_CONTEXT, "attention_bias": True, "mlp_bias": True}),
        "mistral": _family("MistralConfig", _GROUPED, {**_CONTEXT, "sliding_window": 3, "head_dim": 8}),
        "qwen2": _family("Qwen2Config", _GROUPED, {**_CONTEXT, "tie_word_embeddings": True}),
        "qwen3": _family("Qwen3Config", _GROUPED, {**_CONTEXT, "head_dim": 6}),
        "phi": _family("PhiConfig", _MULTI_HEAD),
    }
)
"""Architectures of Hugging Face that are made in any size, the plainest first."""
