"""Loading models from folders in Hugging Face's format, without a network and without pickles."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from dla.demo.hooked import hooked_transformer

FOLDER = Path(__file__).parent / "model"
KINDS = ("hooked", "bridge", "raw")


def load(kind: str = "bridge") -> Any:
    """Loads the demo model: a small GPT-2 that completes sentences about two people.

    Args:
        kind: "hooked" for a HookedTransformer with processed weights (TransformerLens 3.x only), "bridge" for
            a TransformerBridge in compatibility mode, "raw" for a TransformerBridge as it boots.

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


def load_hugging_face(path: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads the Hugging Face model (float32, eager attention, eval mode) and tokenizer of a local folder."""
    folder = _checked(Path(path))
    with without_progress_bars():
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="eager",
        )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return model, tokenizer


@contextlib.contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keeps transformers from drawing a bar for files that take no time to read or write."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _checked(folder: Path) -> Path:
    """The folder's full path, if there is a model in it that can be read without running what it contains."""
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{str(folder)!r} is not a model folder: it has no config.json. Pass a folder that "
            "Hugging Face's save_pretrained() wrote; names of hub models are not looked up."
        )
    if not any(folder.glob("*.safetensors")):
        found = ", ".join(sorted(file.name for file in folder.glob("*.bin"))) or "no weights"
        raise ValueError(
            f"{str(folder)!r} has no *.safetensors file (it has {found}). Pickled weights can run code when "
            "they are opened, so they are refused; save the model again with save_pretrained(folder)."
        )
    return folder.resolve()


def _raw(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> TransformerBridge:
    bridge = TransformerBridge.boot_transformers(
        str(model.name_or_path), hf_model=model, tokenizer=tokenizer, device="cpu"
    )
    return bridge.eval()


def _bridge(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> TransformerBridge:
    bridge = _raw(model, tokenizer)
    bridge.enable_compatibility_mode()
    return bridge


_LOADERS: dict[str, Callable[[PreTrainedModel, PreTrainedTokenizerBase], Any]] = dict(
    zip(KINDS, (hooked_transformer, _bridge, _raw), strict=True)
)
