"""A decomposer remembers nothing: one that has been used gives what an unused copy of it gives."""

import copy

from dla.decomposers.base import Decomposer
from dla.directions import Logit
from dla.testing.laws.case import Case, Problem, random_ids
from dla.testing.laws.conduct import same_bits

CARRIED_OVER = (
    "Something of an earlier run or model is kept: a plan holds weights and names, never what it was used on."
)


def find_in_memory(case: Case) -> Problem | None:
    """On other prompts, shorter and longer ones, a used decomposer has the labels and the bits of an unused one."""
    if case.unused is None:
        return None
    direction, (batch, width) = Logit(5), case.tokens.shape
    case.attribute(direction)
    for length in (width, width + 3, max(1, width - 2)):
        others = random_ids(77 + length, case.adapter.vocabulary.input_size - 4, batch, length) + 4
        try:
            fresh = case.by(copy.deepcopy(case.unused)).attribute(direction, others)
        except Exception:  # an unused one cannot do it either, so it is no memory; other laws try long prompts
            continue
        said = f"on {batch} other prompts of {length} tokens a used decomposer should give what an unused one gives"
        problem = same_bits(case.attribute(direction, others), fresh, said, CARRIED_OVER)
        if problem is not None:
            return Problem(problem.what, problem.cause, others)
    return None


def copied_or_none(decomposer: Decomposer) -> Decomposer | None:
    """A copy of a decomposer, before it is used; None where it cannot be copied, and nothing can be compared."""
    try:
        return copy.deepcopy(decomposer)
    except Exception:  # an object that forbids it may raise anything; the report says that the law was not tried
        return None
