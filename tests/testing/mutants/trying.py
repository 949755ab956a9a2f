"""What the kit says of a mutant, on the models that show its mistake."""

import copy

import dla
from dla.testing import Report, TinyModel, check_adapter, check_decomposer, check_direction
from mutants.catalogue import PROMPTS, Mutant


def report_of(mutant: Mutant) -> Report:
    """What all checks say."""
    if isinstance(mutant.of, dla.Decomposer):
        return check_decomposer(copy.deepcopy(mutant.of), models=mutant.models)  # some remember what they saw
    if isinstance(mutant.of, dla.Direction):
        return check_direction(copy.deepcopy(mutant.of), mutant.means, models=mutant.models, tokens=PROMPTS.clone())
    (model,) = mutant.models
    return check_adapter(mutant.of(TinyModel(model).fresh()))  # some change it
