"""How an activation becomes vectors of the stream: what is read, which rows it holds, how each reaches the stream.

Two ways to the same numbers. `contract` pulls the direction back through the weights and dots it with the
activation, so that no vector of a part is ever built. `vectors` builds them, for small cases and for tests.
"""

from dla.writes.arithmetic import (
    Addition,
    Carried,
    Computation,
    Computed,
    Normed,
    Precision,
    Product,
    Products,
    Shown,
    is_half,
    precisions_of,
)
from dla.writes.base import Write
from dla.writes.experts import Experts, Routed
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
    "Carried",
    "Change",
    "Computation",
    "Computed",
    "Constant",
    "Experts",
    "HeadWrites",
    "Features",
    "Norm",
    "Normed",
    "Precision",
    "Product",
    "Products",
    "OwnScale",
    "Rounding",
    "Route",
    "Routed",
    "NeuronWrites",
    "Shown",
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
