"""The laws that a decomposer keeps; one file per subject, one function per law."""

from dla.decomposers.rows import RowKind
from dla.testing.laws.case import Case, Law, Models, Problem
from dla.testing.laws.conduct import find_hands_on, find_in_bits, find_in_repeats, find_rounding
from dla.testing.laws.invariance import (
    find_in_batch,
    find_in_cache,
    find_in_directions,
    find_in_folding,
    find_in_positions,
)
from dla.testing.laws.memory import find_in_memory
from dla.testing.laws.planning import find_in_contract, find_in_plan
from dla.testing.laws.prompts import find_in_length, find_in_special_tokens
from dla.testing.laws.reconstruction import find_in_sums, find_remainder
from dla.testing.laws.traces import find_in_traces
from dla.testing.laws.trajectory import find_in_trajectory
from dla.testing.laws.tree import find_in_names, find_in_pieces

__all__ = ["LAWS", "Case", "Law", "Problem"]

_SUMS = (RowKind.ADDITIVE,)

LAWS: tuple[Law, ...] = (
    Law("plan", "A plan is made before anything runs, is the same each time, and has one label per row.", find_in_plan),
    Law("hands off", "Weights, activations and caches are left as they are.", find_hands_on, models=Models.FEW),
    Law("repeatable", "The same call gives the same bits, whatever was asked in between.", find_in_repeats),
    Law("memory", "A used decomposer gives what an unused copy gives, labels and bits.", find_in_memory),
    Law("precision", "Sums are in float32 or wider, whatever the model's dtype.", find_in_bits, models=Models.DTYPES),
    Law("positions", "One position asked is that row of all positions.", find_in_positions, models=Models.FEW),
    Law("batch", "Neither the batch, its order nor its padding changes a prompt's rows.", find_in_batch),
    Law(
        "measured",
        "Each row is measured from its own activation; none is what the others leave.",
        find_remainder,
        _SUMS,
    ),
    Law("linearity", "Rows are linear in the direction; several in one pass are as one by one.", find_in_directions),
    Law(
        "contract",
        "A write's `contract` is the dot product of its `vectors` with the direction, and needs only what it reads.",
        find_in_contract,
    ),
    Law("cache", "From an ActivationCache the rows are those of a run.", find_in_cache),
    Law("reconstruction", "The rows and the constant sum to the model's own logit at every position.", find_in_sums),
    Law("long prompts", "The rows add up in prompts as long as the model can read.", find_in_length),
    Law(
        "special tokens",
        "The rows add up in prompts that hold BOS, padding as text, an unknown word, or a word twice.",
        find_in_special_tokens,
    ),
    Law(
        "trajectory",
        "Each row of a trajectory is linear in what it reads, not only the last.",
        find_in_trajectory,
        (RowKind.CUMULATIVE,),
    ),
    Law("traces", "A part that is traced to the rows has them and a constant as its sum.", find_in_traces, _SUMS),
    Law("names", "A row with a known name is what the part of that name contributes.", find_in_names),
    Law("refinement", "The pieces of a part add up to it.", find_in_pieces, _SUMS),
    Law("folding", "Folding and centring leave the rows of logit differences as they are.", find_in_folding),
    Law(
        "half precision",
        "In half precision the rows add up as well: what the model rounds away has rows.",
        find_rounding,
        models=Models.DTYPES,
    ),
)
"""Every law, in the order in which a broken one explains those after it: the first that is broken tells the most."""
