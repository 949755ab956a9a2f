"""What is timed: attributions by this library and by TransformerLens, each beside its model's plain forward pass."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
import transformers
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformer_lens.tools.analysis import direct_logit_attribution as transformer_lens_dla

import dla

GPT2_SMALL = {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}
TINY = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256, "vocab_size": 500}


@final
@dataclass(frozen=True)
class Task:
    """One row of the table.

    Attributes:
        name: What is attributed.
        shape: Prompts × tokens.
        ours: Runs this library.
        plain: Runs the model that `ours` attributes.
        theirs: Runs TransformerLens' equivalent; None where it has none.
        theirs_plain: Runs the model that `theirs` attributes.
    """

    name: str
    shape: tuple[int, int]
    ours: Callable[[], Any]
    plain: Callable[[], Any]
    theirs: Callable[[], Any] | None
    theirs_plain: Callable[[], Any]


def make_bridge(shape: dict[str, int], device: str, compatibility: bool = False) -> TransformerBridge:
    """A GPT-2-shaped bridge with random weights."""
    torch.manual_seed(0)
    options: dict[str, Any] = {**shape, "bos_token_id": 0, "eos_token_id": 0}
    config = transformers.GPT2Config(**options)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().to(device)
    model.config.architectures = [type(model).__name__]
    bridge = build_bridge_from_module(model, "GPT2LMHeadModel", hf_config=model.config, tokenizer=None)
    if compatibility:
        bridge.enable_compatibility_mode()
    return bridge


def make_tasks(raw: TransformerBridge, compatible: TransformerBridge, sizes: list[tuple[int, int]]) -> list[Task]:
    """Every task at every size."""
    return [task for size in sizes for task in _tasks_of_size(raw, compatible, size)]


def _tasks_of_size(raw: TransformerBridge, compatible: TransformerBridge, size: tuple[int, int]) -> list[Task]:
    vocabulary = int(raw.unembed.W_U.shape[1])
    device = raw.unembed.W_U.device
    tokens, answers, others = (torch.randint(0, vocabulary, size, device=device) for _ in range(3))
    last = dla.LogitDifference(answers[:, -1], others[:, -1])
    each = dla.LogitDifference(answers, others)
    plain, theirs_plain = _forward(raw, tokens), _forward(compatible, tokens)

    def task(name: str, decomposer: dla.Decomposer, pos: int | None, unit: str | None) -> Task:
        attributor = dla.Attributor(raw, decomposer)
        chosen = (slice(None), -1) if pos is not None else (slice(None), slice(None))

        def theirs() -> Any:
            return transformer_lens_dla(compatible, tokens, answers[chosen], others[chosen], unit=str(unit), pos=pos)

        def ours() -> Any:
            return attributor.attribute(tokens, last if pos is not None else each, pos=pos)

        where = "last position" if pos is not None else "all positions, a target each"
        return Task(f"{name}, {where}", size, ours, plain, None if unit is None else theirs, theirs_plain)

    return [task(name, decomposer, pos, unit) for name, decomposer, unit, places in UNITS for pos in places]


UNITS: tuple[tuple[str, dla.Decomposer, str | None, tuple[int | None, ...]], ...] = (
    ("components", dla.ComponentDecomposer(), "component", (-1, None)),
    ("heads", dla.HeadDecomposer(), "head", (-1, None)),
    ("neurons", dla.NeuronDecomposer(), None, (-1, None)),
    ("heads and neurons", dla.HeadDecomposer() | dla.NeuronDecomposer(), None, (-1, None)),
    ("top 10 neurons a layer", dla.NeuronDecomposer(top_k=10), None, (-1,)),
    ("heads by source", dla.SourceDecomposer(), None, (-1, None)),
)
"""What is attributed: the name, by whom, TransformerLens' unit if it has one, at which positions."""


def _forward(model: TransformerBridge, tokens: Tensor) -> Callable[[], Any]:
    def run() -> Any:
        with torch.no_grad():
            return model(tokens)

    return run
