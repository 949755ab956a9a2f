"""What the kit says of a mutant, on the models that show its mistake."""

import copy

import dla
from dla.testing import (
    Profile,
    Report,
    TinyModel,
    check_ablation,
    check_adapter,
    check_decomposer,
    check_dictionary,
    check_direction,
)
from dla.testing.subjects import as_subject
from mutants.catalogue import PROMPTS, Mutant


def report_of(mutant: Mutant) -> Report:
    """What all checks say."""
    if isinstance(mutant.of, dla.Decomposer):
        return check_decomposer(
            copy.deepcopy(mutant.of), models=mutant.models or None, profile=Profile.QUICK
        )  # some remember what they saw
    if isinstance(mutant.of, dla.Direction):
        return check_direction(copy.deepcopy(mutant.of), mutant.means, models=mutant.models, tokens=PROMPTS.clone())
    if isinstance(mutant.of, dla.Ablation):
        return check_ablation(copy.deepcopy(mutant.of))
    if not mutant.models:
        return check_dictionary(copy.deepcopy(mutant.of))
    subject = as_subject(mutant.models[0])
    assert isinstance(subject, TinyModel)
    return check_adapter(mutant.of(subject.fresh()))  # some change it
