"""How an activation becomes vectors of the stream: what is read, which rows it holds, how each reaches the stream.

There are two ways to the same numbers. `contract` pulls the direction back through the weights and takes its dot
product with the activation, so that the vectors of the parts are never built. `vectors` builds them, for tests.
"""

from dla.writes.arithmetic import (
    Addition,
    BoundedValue,
    Computation,
    HookValue,
    NormOutput,
    PatternProduct,
    PerHeadProducts,
    Precision,
    Product,
    is_half,
    precisions_of,
)
from dla.writes.base import Write
from dla.writes.experts import ExpertSum, ExpertWrites
from dla.writes.factored import HeadWrites, NeuronWrites
from dla.writes.features import Features
from dla.writes.rounding import Rounding, lost_in
from dla.writes.routes import DIRECT, Activations, Norm, Route
from dla.writes.sites import Site, as_it_is
from dla.writes.sources import Sources
from dla.writes.sums import SumOf
from dla.writes.whole import Change, Constant, FullOutput, OwnScale

__all__ = [
    "DIRECT",
    "Activations",
    "Addition",
    "PatternProduct",
    "Change",
    "Computation",
    "BoundedValue",
    "Constant",
    "ExpertWrites",
    "HeadWrites",
    "Features",
    "Norm",
    "NormOutput",
    "Precision",
    "Product",
    "PerHeadProducts",
    "OwnScale",
    "Rounding",
    "Route",
    "ExpertSum",
    "NeuronWrites",
    "HookValue",
    "Site",
    "Sources",
    "SumOf",
    "FullOutput",
    "Write",
    "as_it_is",
    "is_half",
    "lost_in",
    "precisions_of",
]
