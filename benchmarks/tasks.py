"""What is timed: attributions by this library and by TransformerLens, each beside its model's plain forward pass."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.tools.analysis import direct_logit_attribution as transformer_lens_dla
from transformers import Cache

import dla

UNITS: tuple[tuple[str, dla.Decomposer, str | None, tuple[int | None, ...]], ...] = (
    ("components", dla.ComponentDecomposer(), "component", (-1, None)),
    ("heads", dla.HeadDecomposer(), "head", (-1, None)),
    ("neurons", dla.NeuronDecomposer(), None, (-1, None)),
    ("heads and neurons", dla.HeadDecomposer() | dla.NeuronDecomposer(), None, (-1, None)),
    ("top 10 neurons a layer", dla.NeuronDecomposer(top_k=10), None, (-1,)),
    ("heads by source", dla.SourceDecomposer(), None, (-1, None)),
)
"""What is attributed: the name, by whom, TransformerLens' unit if it has one, at which positions."""


@final
@dataclass(frozen=True)
class Task:
    """One row of the table.

    Attributes:
        model: The model's name.
        name: What is attributed.
        shape: Prompts × tokens.
        ours: Runs this library, and gives its result.
        unsampled: The same with `unembed="all"`: the model unembeds every position that is asked about; None where that
            is done anyway, since few are.
        plain: Runs the model that `ours` attributes.
        stream: Runs it, unembedding one position a prompt: what the blocks alone hold.
        block: Runs its first block.
        theirs: Runs TransformerLens' equivalent; None where it has none.
        theirs_plain: Runs the model that `theirs` attributes.
    """

    model: str
    name: str
    shape: tuple[int, int]
    ours: Callable[[], dla.Attribution]
    unsampled: Callable[[], dla.Attribution] | None
    plain: Callable[[], Any]
    stream: Callable[[], Any]
    block: Callable[[], Any]
    theirs: Callable[[], Any] | None
    theirs_plain: Callable[[], Any]


def make_tasks(
    name: str,
    raw: TransformerBridge,
    compatible: TransformerBridge | None,
    sizes: list[tuple[int, int]],
    only: str,
) -> list[Task]:
    """Every task at every size whose name contains `only`."""
    return [
        make_task(name, raw, compatible, size, unit, pos)
        for size in sizes
        for unit in UNITS
        for pos in unit[3]
        if only in _name(unit[0], pos)
    ]


def make_task(
    model: str,
    raw: TransformerBridge,
    compatible: TransformerBridge | None,
    size: tuple[int, int],
    unit: tuple[str, dla.Decomposer, str | None, tuple[int | None, ...]],
    pos: int | None,
    unequal: bool = False,
) -> Task:
    """One task: random tokens, and a random pair of tokens to tell apart at each place that is asked about.

    Args:
        model: The model's name.
        raw: The model that this library attributes.
        compatible: The same in compatibility mode, which TransformerLens attributes; None to leave that out.
        size: Prompts and tokens.
        unit: What is attributed, as in `UNITS`.
        pos: The position that is asked about; None for all.
        unequal: Whether the prompts have different lengths, up to that of `size`.
    """
    what, decomposer, theirs_unit, _ = unit
    vocabulary, device = int(raw.unembed.W_U.shape[1]), raw.unembed.W_U.device
    tokens, answers, others = (torch.randint(0, vocabulary, size, device=device) for _ in range(3))
    chosen = (slice(None), slice(None)) if pos is None else (slice(None), -1)
    lengths = torch.linspace(size[1] // 16 + 1, size[1], size[0]).long().tolist()
    prompts: Any = [row[:length] for row, length in zip(tokens, lengths, strict=True)] if unequal else tokens
    asked = dla.LogitDifference(answers[chosen], others[chosen])
    attributor, whole = dla.Attributor(raw, decomposer), dla.Attributor(raw, decomposer, unembed="all")

    def theirs() -> Any:
        assert compatible is not None
        asked = answers[chosen], others[chosen]
        return transformer_lens_dla(compatible, tokens, *asked, unit=str(theirs_unit), pos=pos)

    first = torch.zeros(size[0], 1, dtype=torch.long)
    return Task(
        model=model,
        name=_name(what, pos) + (", unequal prompts" if unequal else ""),
        shape=size,
        ours=lambda: attributor.attribute(prompts, asked, pos=pos),
        unsampled=None if pos is not None else lambda: whole.attribute(prompts, asked, pos=pos),
        plain=_forward(raw, tokens),
        stream=lambda: attributor.model.run(tokens, {}, first),
        block=_block(raw, tokens),
        theirs=theirs if theirs_unit is not None and compatible is not None else None,
        theirs_plain=_forward(raw if compatible is None else compatible, tokens),
    )


def _name(what: str, pos: int | None) -> str:
    return f"{what}, {'last position' if pos is not None else 'all positions, a target each'}"


def _forward(model: TransformerBridge, tokens: Tensor) -> Callable[[], Any]:
    def run() -> Any:
        with torch.no_grad():
            return model(tokens)

    return run


def _stateless(value: Any) -> Any:
    """A key-value cache would remember the call: none."""
    return None if isinstance(value, Cache) else value


def _block(model: TransformerBridge, tokens: Tensor) -> Callable[[], Any]:
    """The first block, called as the model calls it."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def keep(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((tuple(_stateless(arg) for arg in args), {name: _stateless(arg) for name, arg in kwargs.items()}))

    def run() -> Any:
        if not calls:
            handle = model.blocks[0].register_forward_pre_hook(keep, with_kwargs=True)
            _forward(model, tokens)()
            handle.remove()
        args, kwargs = calls[0]
        with torch.no_grad():
            return model.blocks[0](*args, **kwargs)

    return run
