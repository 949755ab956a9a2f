"""The demo model as each model class of TransformerLens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dla.adapters.loading import boot, load_hugging_face
from dla.demo.hooked import hooked_transformer
from dla.inputs.given import shown

FOLDER = Path(__file__).parent / "model"
KINDS = ("hooked", "bridge", "raw")
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def load_small(kind: str = "bridge") -> Any:
    """Loads the demo model: a small GPT-2 that completes sentences about two people.

    Args:
        kind: "hooked" for a HookedTransformer with processed weights (TransformerLens 3.x only), "bridge" for
            a TransformerBridge in compatibility mode, "raw" for a TransformerBridge as it boots.

    Value biases stay in the heads that write them (`fold_value_biases=False`), so that all kinds have the same rows.

    Returns:
        The HookedTransformer or TransformerBridge: on the CPU, in float32, in eval mode, with its tokenizer.
    """
    return load_folder(FOLDER, kind)


def load_folder(path: str | Path, kind: str = "bridge", dtype: torch.dtype = torch.float32) -> Any:
    """Loads a causal language model and its tokenizer from a local folder in Hugging Face's format.

    Args:
        path: The folder: config.json, weights as safetensors, and the tokenizer's files.
        kind: As in `load`. "hooked" needs a GPT-2 or a Llama.
        dtype: Of the parameters: float32, bfloat16, float16 or float64.

    Returns:
        The HookedTransformer or TransformerBridge: on the CPU, in eval mode, with its tokenizer.

    Raises:
        ValueError: If there is no such kind or model folder, or the dtype is another.
        DLAError: If the weights are not those of the configuration; names the tensors.
    """
    check_choice(kind, dtype)
    return _LOADERS[kind](*load_hugging_face(path, dtype))


def check_choice(kind: str, dtype: torch.dtype) -> None:
    """Whether a model can be had in this way.

    Raises:
        ValueError: If there is no such kind, or models are not run in that dtype.
    """
    if not _is_one_of(KINDS, kind):
        raise ValueError(f"kind is {shown(kind)}; it must be one of {', '.join(map(repr, KINDS))}.")
    if not _is_one_of(DTYPES, dtype):
        raise ValueError(f"dtype is {shown(dtype)}; it must be one of {', '.join(map(str, DTYPES))}.")


def _is_one_of(choices: tuple[object, ...], value: object) -> bool:
    """Whether a value is one of some, where comparing an array or a frame gives no truth."""
    return any(type(value) is type(each) and value == each for each in choices)


def _bridge(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> TransformerBridge:
    bridge = boot(model, tokenizer)
    bridge.enable_compatibility_mode(fold_value_biases=False)
    return bridge


_LOADERS: dict[str, Callable[[PreTrainedModel, PreTrainedTokenizerBase], Any]] = dict(
    zip(KINDS, (hooked_transformer, _bridge, boot), strict=True)
)
