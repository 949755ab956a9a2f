"""Direct logit attribution: which part of the model wrote this logit?"""

from dla.adapters import HookedTransformerAdapter, ModelAdapter, TransformerBridgeAdapter, adapt
from dla.attribution import Attribution, load
from dla.attributor import Attributor
from dla.decomposers import (
    BlockDecomposer,
    ComponentDecomposer,
    Decomposer,
    HeadDecomposer,
    Law,
    LayerDecomposer,
    NeuronDecomposer,
)
from dla.direct import direct_logit_attribution
from dla.directions import Direction, Logit, LogitDifference, LogitSet, NextToken, ResidualVector, mean
from dla.errors import (
    DLAError,
    FileFormatError,
    ModelDepartureWarning,
    ReconstructionError,
    ReconstructionWarning,
    UnsupportedModelError,
)
from dla.labels import Label
from dla.routes import Norm, Route
from dla.sites import Site
from dla.version import __version__
from dla.writes import Change, Constant, Factored, Scaled, SumOf, Whole, Write

__all__ = [
    "Attribution",
    "Attributor",
    "BlockDecomposer",
    "Change",
    "ComponentDecomposer",
    "Constant",
    "DLAError",
    "Decomposer",
    "Direction",
    "Factored",
    "FileFormatError",
    "HeadDecomposer",
    "HookedTransformerAdapter",
    "Label",
    "Law",
    "LayerDecomposer",
    "Logit",
    "LogitDifference",
    "LogitSet",
    "ModelAdapter",
    "ModelDepartureWarning",
    "NeuronDecomposer",
    "NextToken",
    "Norm",
    "ReconstructionError",
    "ReconstructionWarning",
    "ResidualVector",
    "Route",
    "Scaled",
    "Site",
    "SumOf",
    "TransformerBridgeAdapter",
    "UnsupportedModelError",
    "Whole",
    "Write",
    "__version__",
    "adapt",
    "direct_logit_attribution",
    "load",
    "mean",
]
