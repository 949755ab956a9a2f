"""The demo model as each model class of TransformerLens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dla.adapters.loading import boot, load_hugging_face
from dla.demo.hooked import hooked_transformer

FOLDER = Path(__file__).parent / "model"
KINDS = ("hooked", "bridge", "raw")


def load(kind: str = "bridge") -> Any:
    """Loads the demo model: a small GPT-2 that completes sentences about two people.

    Args:
        kind: "hooked" for a HookedTransformer with processed weights (TransformerLens 3.x only), "bridge" for
            a TransformerBridge in compatibility mode, "raw" for a TransformerBridge as it boots.

    Value biases stay in the heads that write them (`fold_value_biases=False`), so that all kinds have the same rows.

    Returns:
        The HookedTransformer or TransformerBridge: on the CPU, in float32, in eval mode, with its tokenizer.
    """
    return load_folder(FOLDER, kind)


def load_folder(path: str | Path, kind: str = "bridge") -> Any:
    """Loads a causal language model and its tokenizer from a local folder in Hugging Face's format.

    Args:
        path: The folder: config.json, weights as safetensors, and the tokenizer's files.
        kind: As in `load`. "hooked" needs a GPT-2.

    Returns:
        The HookedTransformer or TransformerBridge: on the CPU, in float32, in eval mode, with its tokenizer.
    """
    if kind not in _LOADERS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(map(repr, KINDS))}.")
    return _LOADERS[kind](*load_hugging_face(path))


def _bridge(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> TransformerBridge:
    bridge = boot(model, tokenizer)
    bridge.enable_compatibility_mode(fold_value_biases=False)
    return bridge


_LOADERS: dict[str, Callable[[PreTrainedModel, PreTrainedTokenizerBase], Any]] = dict(
    zip(KINDS, (hooked_transformer, _bridge, boot), strict=True)
)
