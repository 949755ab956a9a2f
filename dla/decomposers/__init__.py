"""Decompositions of the residual stream; one file a kind."""

from dla.decomposers.base import Decomposer, Law, MixedDecomposer
from dla.decomposers.bias import BiasDecomposer
from dla.decomposers.block import BlockDecomposer
from dla.decomposers.component import ComponentDecomposer
from dla.decomposers.embedding import EmbeddingDecomposer
from dla.decomposers.expert import ExpertDecomposer
from dla.decomposers.feature import FeatureDecomposer
from dla.decomposers.group import GroupDecomposer
from dla.decomposers.head import HeadDecomposer
from dla.decomposers.layer import LayerDecomposer
from dla.decomposers.lens import LensDecomposer
from dla.decomposers.neuron import NeuronDecomposer
from dla.decomposers.source import SourceDecomposer

__all__ = [
    "BiasDecomposer",
    "BlockDecomposer",
    "ComponentDecomposer",
    "Decomposer",
    "EmbeddingDecomposer",
    "ExpertDecomposer",
    "FeatureDecomposer",
    "GroupDecomposer",
    "HeadDecomposer",
    "Law",
    "LayerDecomposer",
    "LensDecomposer",
    "MixedDecomposer",
    "NeuronDecomposer",
    "SourceDecomposer",
]
