"""Which rows there are: one file per kind of decomposition."""

from dla.decomposers.base import Decomposer, MixedDecomposer
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
from dla.decomposers.plans import Entry, Item
from dla.decomposers.rows import RowKind, Rows
from dla.decomposers.source import SourceDecomposer
from dla.decomposers.splitting import split_sublayers

__all__ = [
    "BiasDecomposer",
    "BlockDecomposer",
    "ComponentDecomposer",
    "Decomposer",
    "EmbeddingDecomposer",
    "Entry",
    "ExpertDecomposer",
    "FeatureDecomposer",
    "GroupDecomposer",
    "HeadDecomposer",
    "Item",
    "RowKind",
    "LayerDecomposer",
    "LensDecomposer",
    "MixedDecomposer",
    "NeuronDecomposer",
    "Rows",
    "SourceDecomposer",
    "split_sublayers",
]
