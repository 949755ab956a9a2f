from .adapters import HookedTransformerAdapter, ModelAdapter, TransformerBridgeAdapter, adapt
from .attributor import Attributor
from .calls.direct import direct_logit_attribution
from .calls.loaded import load
from .decomposers import (
    BiasDecomposer,
    BlockDecomposer,
    ComponentDecomposer,
    Decomposer,
    EmbeddingDecomposer,
    ExpertDecomposer,
    FeatureDecomposer,
    GroupDecomposer,
    HeadDecomposer,
    LayerDecomposer,
    LensDecomposer,
    MixedDecomposer,
    NeuronDecomposer,
    RowKind,
    SourceDecomposer,
)
from .decomposers.plans import Entry
from .decomposers.rows import Rows
from .directions import (
    CentredLogit,
    Continuation,
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
from .edits import Ablation, Add, Edit, Fixed, Mean, Resample, Written, Zero
from .engine.rules import FrozenGate, FrozenUp, Mixed, Secant
from .errors import (
    CoarseDecompositionWarning,
    DLAError,
    DLAWarning,
    FileFormatError,
    MissingPackageError,
    ModelMismatchWarning,
    PromptWarning,
    ReconstructionError,
    ReconstructionWarning,
    RunChangedError,
    SweepWarning,
    UnsupportedModelError,
)
from .inputs.columns import Column
from .inputs.span_texts import Span
from .labels import Label
from .provenance import __version__
from .results.attention_score import AttentionScore
from .results.attribution import Attribution
from .results.caveats import Caveats
from .results.difference import Difference
from .results.direct_effects import DirectEffects
from .results.effects import Effects, Repair
from .results.graph import graph
from .results.part import Part, TokenEffects
from .results.shares import Shares
from .results.total_effects import TotalEffects, total_effects
from .summaries import BootstrapInterval, Interval, NormalInterval, Summary, compare
from .sweeps import Engine, LocalEngine, RayEngine, SweepFolder, open_sweep, sweep
from .views.graph import Graph, load_graph
from .writes import (
    Change,
    Constant,
    ExpertWrites,
    Features,
    FullOutput,
    HeadWrites,
    NeuronWrites,
    Rounding,
    Sources,
    SumOf,
    Write,
)
from .writes.routes import Norm, Route
from .writes.sites import Site

__all__ = [
    "Ablation",
    "Add",
    "AttentionScore",
    "Attribution",
    "Attributor",
    "BiasDecomposer",
    "BlockDecomposer",
    "BootstrapInterval",
    "Caveats",
    "CentredLogit",
    "Change",
    "CoarseDecompositionWarning",
    "Column",
    "ComponentDecomposer",
    "Constant",
    "Continuation",
    "DLAError",
    "DLAWarning",
    "Decomposer",
    "Difference",
    "DirectEffects",
    "Direction",
    "Directions",
    "Edit",
    "Effects",
    "EmbeddingDecomposer",
    "Engine",
    "Entry",
    "ExpertDecomposer",
    "ExpertWrites",
    "FeatureDecomposer",
    "Features",
    "FileFormatError",
    "Fixed",
    "FrozenGate",
    "FrozenUp",
    "FullOutput",
    "Graph",
    "GroupDecomposer",
    "HeadDecomposer",
    "HeadWrites",
    "HookedTransformerAdapter",
    "Interval",
    "Label",
    "LayerDecomposer",
    "LensDecomposer",
    "LocalEngine",
    "LogProbability",
    "Logit",
    "LogitDifference",
    "LogitSet",
    "Mean",
    "MissingPackageError",
    "Mixed",
    "MixedDecomposer",
    "ModelAdapter",
    "ModelMismatchWarning",
    "NeuronDecomposer",
    "NeuronWrites",
    "NextToken",
    "Norm",
    "NormalInterval",
    "Part",
    "PromptWarning",
    "RayEngine",
    "ReconstructionError",
    "ReconstructionWarning",
    "Repair",
    "Resample",
    "ResidualVector",
    "Rounding",
    "Route",
    "RowKind",
    "Rows",
    "RunChangedError",
    "Secant",
    "Shares",
    "Site",
    "SourceDecomposer",
    "Sources",
    "Span",
    "SumOf",
    "Summary",
    "SweepFolder",
    "SweepWarning",
    "TokenEffects",
    "TopTokens",
    "TotalEffects",
    "TransformerBridgeAdapter",
    "UnsupportedModelError",
    "Write",
    "Written",
    "Zero",
    "__version__",
    "adapt",
    "compare",
    "direct_logit_attribution",
    "graph",
    "load",
    "load_graph",
    "mean",
    "open_sweep",
    "sweep",
    "total_effects",
]
