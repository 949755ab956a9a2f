"""MLP neurons."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import final

from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Decomposer
from dla.errors import UnsupportedModelError
from dla.writes import Write


@final
@dataclass(frozen=True)
class NeuronDecomposer(Decomposer):
    """One part for each MLP neuron, `L3N12`, and one for each thing that no neuron writes.

    Those are the embeddings, the attention sublayers, the MLP biases (`3_b_out`) and, where the MLP passes a norm
    before it is added, that norm's bias. A neuron's part is its activation after the nonlinearity (and the gate, where
    there is one) times its row of `W_out`. An MLP without neurons of its own (a mixture of experts) stays one part.

    Attributes:
        layers: The layers whose MLPs are split; None for all.

    Source: Geva et al. 2022, "Transformer Feed-Forward Layers Build Predictions by Promoting Concepts in the
    Vocabulary Space" (arXiv 2203.14680).
    """

    layers: Collection[int] | None = None

    def writes(self, model: ModelAdapter) -> Sequence[Write]:
        """The plan.

        Raises:
            ValueError: If the model has no such layer.
            UnsupportedModelError: If a layer that was named has no neurons to split.
        """
        plan = [*model.embeddings()]
        for layer in self._missing(model):
            raise ValueError(f"There is no layer {layer}; the model has layers 0 to {model.n_layers - 1}.")
        for layer in range(model.n_layers):
            split = self.layers is None or layer in self.layers
            sublayers = model.block(layer).sublayers
            if self.layers is not None and split and all(sublayer.neurons is None for sublayer in sublayers):
                raise UnsupportedModelError(
                    f"Layer {layer} has no neurons whose writes add up to its MLP (a mixture of experts, or no MLP). "
                    "Leave it out of `layers`."
                )
            for sublayer in sublayers:
                plan += sublayer.neurons.writes() if split and sublayer.neurons is not None else [sublayer.write]
        return plan

    def _missing(self, model: ModelAdapter) -> list[int]:
        return [layer for layer in self.layers or () if not 0 <= layer < model.n_layers]
