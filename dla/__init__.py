"""Direct logit attribution: which part of the model wrote this logit?"""

from dla.adapters import HookedTransformerAdapter, ModelAdapter, TransformerBridgeAdapter, adapt
from dla.attribution import Attribution, load
from dla.attributor import Attributor
from dla.decomposers import (
    BiasDecomposer,
    BlockDecomposer,
    ComponentDecomposer,
    Decomposer,
    EmbeddingDecomposer,
    ExpertDecomposer,
    FeatureDecomposer,
    GroupDecomposer,
    HeadDecomposer,
    Law,
    LayerDecomposer,
    LensDecomposer,
    MixedDecomposer,
    NeuronDecomposer,
    SourceDecomposer,
)
from dla.direct import direct_logit_attribution
from dla.directions import (
    CentredLogit,
    Direction,
    Directions,
    Logit,
    LogitDifference,
    LogitSet,
    LogProbability,
    NextToken,
    ResidualVector,
    TopTokens,
    mean,
)
from dla.errors import (
    DLAError,
    FileFormatError,
    ModelDepartureWarning,
    ReconstructionError,
    ReconstructionWarning,
    UnsupportedModelError,
)
from dla.labels import Label
from dla.parts import Part, TokenEffects
from dla.plans import Entry, Rows
from dla.routes import Norm, Route
from dla.sites import Site
from dla.summaries import BootstrapInterval, Interval, NormalInterval, Summary
from dla.sweeps import Engine, LocalEngine, SweepFolder, open_sweep, sweep
from dla.version import __version__
from dla.writes import Change, Constant, Experts, Factored, Features, Scaled, Sources, SumOf, Whole, Write

__all__ = [
    "Attribution",
    "Attributor",
    "BiasDecomposer",
    "BlockDecomposer",
    "BootstrapInterval",
    "CentredLogit",
    "Change",
    "ComponentDecomposer",
    "Constant",
    "DLAError",
    "Decomposer",
    "Direction",
    "Directions",
    "EmbeddingDecomposer",
    "Engine",
    "Entry",
    "ExpertDecomposer",
    "Experts",
    "Factored",
    "FeatureDecomposer",
    "Features",
    "FileFormatError",
    "GroupDecomposer",
    "HeadDecomposer",
    "HookedTransformerAdapter",
    "Interval",
    "Label",
    "Law",
    "LayerDecomposer",
    "LensDecomposer",
    "LocalEngine",
    "LogProbability",
    "Logit",
    "LogitDifference",
    "LogitSet",
    "MixedDecomposer",
    "ModelAdapter",
    "ModelDepartureWarning",
    "NeuronDecomposer",
    "NextToken",
    "Norm",
    "NormalInterval",
    "Part",
    "ReconstructionError",
    "ReconstructionWarning",
    "ResidualVector",
    "Route",
    "Rows",
    "Scaled",
    "Site",
    "SourceDecomposer",
    "Sources",
    "SumOf",
    "Summary",
    "SweepFolder",
    "TokenEffects",
    "TopTokens",
    "TransformerBridgeAdapter",
    "UnsupportedModelError",
    "Whole",
    "Write",
    "__version__",
    "adapt",
    "direct_logit_attribution",
    "load",
    "mean",
    "open_sweep",
    "sweep",
]
