"""A decomposer remembers nothing: one that has been used gives what an unused copy of it gives."""

import copy
from typing import TypeVar

from jaxtyping import Int
from torch import Tensor

from dla.directions import Logit
from dla.results.attribution import Attribution
from dla.testing.laws.case import Case, Problem, random_ids
from dla.testing.laws.conduct import same_bits
from dla.testing.raised import words_of_exception

_Kind = TypeVar("_Kind")

CARRIED_OVER = (
    "Something of an earlier run or model is kept: a plan holds weights and names, never what it was used on."
)


def find_in_memory(case: Case) -> Problem | None:
    """On other prompts, shorter and longer ones, a used decomposer has the labels and the bits of an unused one."""
    if case.unused is None:
        return None
    batch, width = case.tokens.shape
    for length in (width, width + 3, max(1, width - 2)):
        others = random_ids(77 + length, case.adapter.vocabulary.input_size - 4, batch, length) + 4
        fresh = _attributed(case.by(copy.deepcopy(case.unused)), others)
        if isinstance(fresh, Problem):  # an unused one cannot do it either: that is no memory, and other laws say it
            continue
        said = f"on {batch} other prompts of {length} tokens a used decomposer should give what an unused one gives"
        _attributed(case, case.tokens)  # so that it has been used
        used = _attributed(case, others)
        if isinstance(used, Problem):
            return Problem(f"{said}: {used.what}", CARRIED_OVER, others)
        problem = same_bits(used, fresh, said)
        if problem is not None:
            return Problem(problem.what, CARRIED_OVER, others)
    return None


def _attributed(case: Case, tokens: Int[Tensor, "batch pos"]) -> Attribution | Problem:
    """An attribution of some prompts, or what was raised."""
    try:
        return case.attribute(Logit(5), tokens)
    except Exception as error:  # a decomposer under check may raise anything
        return Problem(words_of_exception(error), raised=True)


def copied_or_none(given: _Kind) -> _Kind | None:
    """A copy of what is checked, before it is used; None where it cannot be copied, and nothing can be compared."""
    try:
        return copy.deepcopy(given)
    except Exception:  # an object that forbids it may raise anything; the report says that the law was not tried
        return None
