"""Attention heads by the token that they read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from dla.adapters.anatomy import Heads, PieceKind, Sublayer
from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Decomposer
from dla.decomposers.plans import Entry, Item
from dla.decomposers.splitting import Layers, read_layers, split_sublayers
from dla.inputs.prompts import Prompts
from dla.labels import Label
from dla.writes import Sources


@final
@dataclass(frozen=True)
class SourceDecomposer(Decomposer):
    """One part for each attention head and token that it reads, `L9H6 ← 3 ' Mary'`, and one for everything else.

    A head moves `Σ_s pattern[q, s] v[s]` to the position where it writes. Each summand is a part, and so is the head's
    value bias, `L9H6 ← b_V`, in models that have one (compatibility mode folds it into `b_O`). A token after the
    attributed position is not read, and has 0. The label names the token where all prompts have the same one.

    Attributes:
        layers: The layers whose attention is split; None for all.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
    """

    layers: Layers = None

    def __post_init__(self) -> None:
        read_layers(self.layers)

    def writes(self, model: ModelAdapter) -> Sequence[Item]:
        """The plan.

        Raises:
            ValueError: If the model has no such layer.
            UnsupportedModelError: If a layer that was named has no heads whose sources are known.
        """
        return list(split_sublayers(model, self.layers, _sources, PieceKind.SOURCES))


def _sources(sublayer: Sublayer) -> Sequence[Item] | None:
    heads = sublayer.heads
    if heads is None or heads.values is None:
        return None
    sources = Entry(heads.label, lambda prompts: sources_of(heads, prompts))
    return [sources, *heads.biases(), *heads.values.rounding]


def sources_of(heads: Heads, prompts: Prompts) -> Sources:
    """What the heads read at each position of some prompts; the heads' values must be known."""
    assert heads.values is not None
    texts, labels = [f" {token}" if token else "" for token in quoted_tokens(prompts)], heads.labels
    rows = [
        Label("source", head.layer, head.index, f"{head} ← {s}{text}", s, head)
        for head in labels
        for s, text in enumerate(texts)
    ]
    if heads.values.b_V is not None:
        rows += [Label("b_V", head.layer, head.index, f"{head} ← b_V", parent=head) for head in labels]
    return Sources(heads.values.pattern, heads.values.v, heads.W_O, heads.values.b_V, rows, heads.route)


def quoted_tokens(prompts: Prompts) -> list[str]:
    """The token at each position, quoted; empty where the prompts differ."""
    found: list[set[str]] = [set() for _ in range(prompts.tokens.shape[1])]
    for texts in prompts.texts():
        for seen, text in zip(found, texts, strict=False):  # a short prompt has no token at the last positions
            seen.add(text)
    return [repr(seen.pop()) if len(seen) == 1 else "" for seen in found]
