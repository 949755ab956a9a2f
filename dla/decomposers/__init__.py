"""Decompositions of the residual stream; one file a kind."""

from dla.decomposers.base import Decomposer, Law
from dla.decomposers.block import BlockDecomposer
from dla.decomposers.component import ComponentDecomposer
from dla.decomposers.head import HeadDecomposer
from dla.decomposers.layer import LayerDecomposer
from dla.decomposers.neuron import NeuronDecomposer

__all__ = [
    "BlockDecomposer",
    "ComponentDecomposer",
    "Decomposer",
    "HeadDecomposer",
    "Law",
    "LayerDecomposer",
    "NeuronDecomposer",
]
