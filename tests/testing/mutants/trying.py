"""What the kit says of a mutant, on the model that shows its mistake."""

import copy
from typing import Any

import dla
from dla.testing import Step, check_decomposer
from dla.testing.decomposers import run_check
from dla.testing.laws import CHECKS
from dla.testing.subjects import as_subject
from mutants.catalogue import Mutant


def named_step(mutant: Mutant) -> Step:
    """What the check that must find it says."""
    [check] = [check for check in CHECKS if check.name == mutant.check]
    decomposer, model = _tried(mutant)
    return run_check(check, decomposer, [model])


def found_by(mutant: Mutant) -> list[str]:
    """All checks that find it."""
    decomposer, model = _tried(mutant)
    return [step.name for step in check_decomposer(decomposer, models=[model]).failures()]


def _tried(mutant: Mutant) -> tuple[dla.Decomposer, Any]:
    if isinstance(mutant.of, dla.Decomposer):
        return copy.deepcopy(mutant.of), mutant.on  # some remember what they saw
    return mutant.by, mutant.of(as_subject(mutant.on).model())
