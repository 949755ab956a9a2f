"""What most decompositions of one's own look like: attention split somehow, everything else as it is."""

import abc
from collections.abc import Sequence
from typing import final

import dla
from dla.adapters import Heads, Neurons, Sublayer
from dla.decomposers import Item


class SplitsHeads(dla.Decomposer):
    """Splits attention somehow, and leaves everything else as it is."""

    @final
    def writes(self, model: dla.ModelAdapter) -> Sequence[Item]:
        plan: list[Item] = list(model.embeddings())
        for sublayer in sublayers(model):
            plan += [sublayer.write] if sublayer.heads is None else self.split(sublayer.heads, model)
            plan += sublayer.rounding
        return plan

    @abc.abstractmethod
    def split(self, heads: Heads, model: dla.ModelAdapter) -> Sequence[Item]:
        """The pieces of one attention sublayer."""


class SplitsNeurons(dla.Decomposer):
    """Splits MLPs somehow, and leaves everything else as it is."""

    @final
    def writes(self, model: dla.ModelAdapter) -> Sequence[Item]:
        plan: list[Item] = list(model.embeddings())
        for sublayer in sublayers(model):
            plan += [sublayer.write] if sublayer.neurons is None else self.split(sublayer.neurons)
            plan += sublayer.rounding
        return plan

    @abc.abstractmethod
    def split(self, neurons: Neurons) -> Sequence[Item]:
        """The pieces of one MLP."""


def sublayers(model: dla.ModelAdapter) -> list[Sublayer]:
    """All sublayers, in the order in which they run."""
    return [sublayer for layer in range(model.n_layers) for sublayer in model.block(layer).sublayers]


def layer_of(heads: Heads) -> int:
    """The block that attention belongs to."""
    assert heads.label.layer is not None
    return heads.label.layer
