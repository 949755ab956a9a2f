"""The laws that a decomposer keeps, each a check of its own; a file a subject."""

from dla.testing.laws.case import Case, Check, Problem
from dla.testing.laws.conduct import HANDS_OFF, PRECISION, REPEATABLE
from dla.testing.laws.invariance import BATCH, CACHE, FOLDING, LINEARITY, POSITIONS
from dla.testing.laws.planning import CONTRACT, PLAN
from dla.testing.laws.sums import MEASURED, RECONSTRUCTION
from dla.testing.laws.tree import NAMES, REFINEMENT

__all__ = ["CHECKS", "Case", "Check", "Problem"]

CHECKS: tuple[Check, ...] = (
    PLAN,
    CONTRACT,
    RECONSTRUCTION,
    MEASURED,
    REFINEMENT,
    NAMES,
    LINEARITY,
    POSITIONS,
    BATCH,
    CACHE,
    FOLDING,
    REPEATABLE,
    HANDS_OFF,
    PRECISION,
)
"""Every law, in the order in which a broken one explains those after it."""
