"""MLP neurons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from dla.adapters.anatomy import PieceKind, Sublayer
from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Decomposer
from dla.decomposers.plans import Entry, Item
from dla.decomposers.splitting import Layers, read_layers, split_sublayers
from dla.decomposers.top_k import TopK
from dla.inputs.given import Count, count
from dla.labels import Label


@final
@dataclass(frozen=True)
class NeuronDecomposer(Decomposer):
    """One part for each MLP neuron, `L3N12`, and one for each thing that no neuron writes.

    Those are the embeddings, the attention sublayers, the MLP biases (`3_b_out`) and, where the MLP passes a norm
    before it is added, that norm's bias. A neuron's part is its activation after the nonlinearity (and the gate, where
    there is one) times its row of `W_out`. An MLP without neurons of its own (a mixture of experts) stays one part.

    Attributes:
        layers: The layers whose MLPs are split; None for all.
        top_k: Show only so many neurons of each layer, and the sum of the others as one row, `3_other_neurons`. Shown
            are those with the largest share of Σ|value| in their layer, on average over the prompts and positions of
            the call. None shows all.

    Source: Geva et al. 2022, "Transformer Feed-Forward Layers Build Predictions by Promoting Concepts in the
    Vocabulary Space" (arXiv 2203.14680).
    """

    layers: Layers = None
    top_k: Count | None = None

    def __post_init__(self) -> None:
        read_layers(self.layers)
        if self.top_k is not None:
            count(self.top_k, "top_k", "neuron, or pass None for all")

    def writes(self, model: ModelAdapter) -> Sequence[Item]:
        """The plan.

        Raises:
            ValueError: If the model has no such layer.
            UnsupportedModelError: If a layer that was named has no neurons to split.
        """
        return list(split_sublayers(model, self.layers, self._neurons, PieceKind.NEURONS))

    def _neurons(self, sublayer: Sublayer) -> Sequence[Item] | None:
        if sublayer.neurons is None:
            return None
        neurons, label = sublayer.neurons, sublayer.neurons.label
        if self.top_k is None:
            return neurons.writes()
        # An entry, not a write: which neurons are shown depends on their values.
        others = Label("other_neurons", label.layer, parent=label)
        write = neurons.write()
        return [Entry(label, lambda _: write, (TopK(int(self.top_k), others, "neuron"),)), *neurons.biases()]
