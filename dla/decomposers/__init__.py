"""Decompositions of the residual stream; one file a kind."""

from dla.decomposers.base import Decomposer, Law
from dla.decomposers.component import ComponentDecomposer
from dla.decomposers.head import HeadDecomposer
from dla.decomposers.layer import LayerDecomposer

__all__ = ["ComponentDecomposer", "Decomposer", "HeadDecomposer", "LayerDecomposer", "Law"]
