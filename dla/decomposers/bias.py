"""The biases, each as a part of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from dla.adapters.anatomy import Heads, Sublayer
from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Decomposer
from dla.decomposers.groups import Grouping
from dla.decomposers.plans import Entry, Item
from dla.decomposers.source import sources_of
from dla.decomposers.splitting import BIASES, split_sublayers
from dla.labels import Label
from dla.writes import SumOf


@final
@dataclass(frozen=True)
class BiasDecomposer(Decomposer):
    """Each sublayer without its biases, and each bias as a part of its own.

    Attention is `9_heads`, its value bias `9_b_V` (as the heads move it, `Σ_h (Σ_s pattern) b_V W_O`) and its output
    bias `9_b_O`; an MLP is `9_neurons` and `9_b_out`; the bias of a norm after the sublayer is `9_ln1_post_b` or
    `9_ln2_post_b`. Embeddings and all other sublayers stay as they are. A value bias that is not known stays in
    `9_heads`.
    """

    def writes(self, model: ModelAdapter) -> Sequence[Item]:
        return list(split_sublayers(model, None, _without_biases, BIASES))


def _without_biases(sublayer: Sublayer) -> Sequence[Item] | None:
    if sublayer.heads is not None:
        return [*_heads(sublayer.heads), *sublayer.heads.biases()]
    if sublayer.neurons is not None:
        neurons, label = sublayer.neurons, sublayer.neurons.label
        together = Label("neurons", label.layer, parent=label)
        return [SumOf([neurons.write()], together), *neurons.biases()]
    return None


def _heads(heads: Heads) -> Sequence[Item]:
    """All heads as one part, without the value bias, and that bias, where it is known."""
    layer = heads.label.layer
    together, bias = (Label(kind, layer, parent=heads.label) for kind in ("heads", "b_V"))
    if heads.values is None or heads.values.b_V is None:
        return [SumOf([heads.write()], together)]
    # The sources have the bias in rows of their own, which `z` has not; all other rows become one again.
    apart = Grouping(lambda label: bias if label.kind == "b_V" else together)
    return [Entry(heads.label, lambda prompts: sources_of(heads, prompts), (apart,)), *heads.values.rounding]
