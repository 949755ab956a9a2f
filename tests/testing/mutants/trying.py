"""What the kit says of a mutant, on the models that show its mistake."""

import copy

import dla
from dla.testing import Report, check_decomposer, check_direction
from dla.testing.subjects import as_subject
from mutants.catalogue import PROMPTS, Mutant


def report_of(mutant: Mutant) -> Report:
    """What all checks say."""
    if isinstance(mutant.of, dla.Decomposer):
        return check_decomposer(copy.deepcopy(mutant.of), models=mutant.models)  # some remember what they saw
    if isinstance(mutant.of, dla.Direction):
        return check_direction(copy.deepcopy(mutant.of), mutant.means, models=mutant.models, tokens=PROMPTS.clone())
    return check_decomposer(mutant.by, models=[mutant.of(as_subject(model).model()) for model in mutant.models])


def found_by(mutant: Mutant) -> list[str]:
    """The checks that find it."""
    return [step.name for step in report_of(mutant).failures()]
