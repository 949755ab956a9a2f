"""Loading models by name: folders in Hugging Face's format, without network and without pickles, or the hub."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from dla.errors import DLAError
from dla.inputs.arguments import file_path
from dla.provenance import is_path
from dla.text import as_text, shortened

# Where there is no tokenizer transformers makes an empty one and says nothing, so its files are looked for.
_TOKENIZERS = ("tokenizer*", "vocab*", "*.model", "*.tiktoken", "tekken.json")

_ADAPTER = "adapter_config.json"

_NAMED = 3  # how many tensors an error names


def load_model(name_or_folder: str, dtype: torch.dtype = torch.float32) -> TransformerBridge:
    """Loads a causal language model and its tokenizer: from a folder if there is one of that name, else from the hub.

    Args:
        name_or_folder: A folder that `save_pretrained` wrote, with the tokenizer's files in it, or a name on the hub.
        dtype: In what precision the model runs.

    Returns:
        A raw bridge (the Hugging Face model as it is): on the CPU, in eval mode.

    Raises:
        ValueError: If it is a path and there is no model folder.
        DLAError: If the model cannot be loaded, or fetched. Says why.
    """
    path = file_path(name_or_folder, "a model")
    name_or_folder = str(name_or_folder)
    if path.exists() or is_path(name_or_folder):
        return _from_folder(checked_folder(path), dtype)
    return _from_hub(name_or_folder, dtype)


def load_hugging_face(
    path: str | Path, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads the Hugging Face model (eager attention, eval mode) and tokenizer of a local folder.

    Raises:
        ValueError: If it is not a folder of a model and its tokenizer; see `checked_folder`.
        DLAError: If the weights are not those of the configuration; names the tensors.
    """
    folder = checked_folder(file_path(path, "a model's folder"))
    with without_progress_bars():
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=dtype,
            attn_implementation="eager",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by their names
        )
    model, found = loaded
    _check_weights(folder, found)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return model, tokenizer


def boot(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> TransformerBridge:
    """A raw bridge around a loaded Hugging Face model: on the CPU, in the model's dtype, in eval mode."""
    bridge = TransformerBridge.boot_transformers(
        str(model.name_or_path), hf_model=model, tokenizer=tokenizer, device="cpu", dtype=model.dtype
    )
    return bridge.eval()


def checked_folder(folder: Path) -> Path:
    """The folder's full path, if it holds a model that can be read without running code from it.

    Raises:
        ValueError: If there is no such folder, no model or tokenizer in it (or only an adapter), or the
            weights are pickled.
    """
    if (folder / _ADAPTER).is_file() and not (folder / "config.json").is_file():
        base = f"of {base!r} " if (base := _base_of(folder / _ADAPTER)) else ""
        raise ValueError(
            f"{str(folder)!r} holds an adapter {base}(LoRA, or its kin) and no model. Merge it into its model and save "
            "that, as with peft.AutoPeftModelForCausalLM.from_pretrained(folder).merge_and_unload()"
            ".save_pretrained(merged), and the tokenizer beside it; then pass that folder."
        )
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{str(folder)!r} is not a model folder: it has no config.json. Pass a folder that "
            "Hugging Face's save_pretrained() wrote; a folder is not looked for among the hub models."
        )
    if not any(folder.glob("*.safetensors")):
        found = ", ".join(sorted(file.name for file in folder.glob("*.bin"))) or "no weights"
        raise ValueError(
            f"{str(folder)!r} has no *.safetensors file (it has {found}). Pickled weights can run code when "
            "they are opened, so they are refused; save the model again with save_pretrained(folder)."
        )
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZERS):
        raise ValueError(
            f"{str(folder)!r} holds a model and no tokenizer. Save the model's own there too, with "
            "tokenizer.save_pretrained(folder)."
        )
    return folder.resolve()


def _base_of(file: Path) -> str:
    """The model that an adapter belongs to, as its file says; "" where it says nothing that can be read."""
    with contextlib.suppress(ValueError, OSError):
        told = json.loads(file.read_text(encoding="utf-8"))
        base = told.get("base_model_name_or_path") if isinstance(told, dict) else None
        return shortened(base) if isinstance(base, str) else ""
    return ""


@contextlib.contextmanager
def without_progress_bars() -> Iterator[None]:
    """Turns off the progress bars of transformers, for files that take no time to read or write."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _check_weights(folder: Path, found: Mapping[str, Any]) -> None:
    """Refuses a model whose tensors are not those that its configuration asks for: transformers draws what is missing.

    Args:
        folder: The model's.
        found: What `from_pretrained` tells of the tensors.

    Raises:
        DLAError: If tensors are missing, too many, or of other shapes.
    """
    shapes = [f"{name}, {list(there)} and not {list(asked)}" for name, there, asked in found["mismatched_keys"]]
    wrong = {
        "missing": found["missing_keys"],
        "of no part of the model": found["unexpected_keys"],
        "of another shape": shapes,
    }
    told = [f"{len(names)} {what} ({_some(names)})" for what, names in wrong.items() if names]
    if told:
        raise DLAError(
            f"The tensors in {str(folder)!r} are not those that its config.json asks for: {'; '.join(told)}. Put the "
            "model's own config.json there, or save model and configuration again with save_pretrained(folder)."
        )


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:_NAMED]) + (", ..." if len(ordered) > _NAMED else "")


def _from_folder(folder: Path, dtype: torch.dtype) -> TransformerBridge:
    try:
        return boot(*load_hugging_face(folder, dtype))
    except DLAError:
        raise
    except (
        Exception
    ) as error:  # transformers and TransformerLens raise errors of many classes for what they do not know
        raise DLAError(
            f"The model in {str(folder)!r} could not be loaded ({_reason(error)}). Pass a folder that holds a causal "
            "language model which TransformerLens knows, and its tokenizer."
        ) from error


def _from_hub(name: str, dtype: torch.dtype) -> TransformerBridge:
    try:
        return TransformerBridge.boot_transformers(name, device="cpu", dtype=dtype).eval()
    except Exception as error:  # as above, and errors of the network
        raise DLAError(
            f"There is no folder {name!r} here, and the hub gave no such model ({_reason(error)}). Pass a folder "
            "that holds the model and its tokenizer, or the name of a hub model where there is a network."
        ) from error


def _reason(error: Exception) -> str:
    """The first line of what went wrong."""
    lines = str(error).strip().splitlines()
    return as_text(lines[0].rstrip(".")) if lines else type(error).__name__
