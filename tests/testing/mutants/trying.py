"""What the kit says of a mutant, on the model that shows its mistake."""

import copy

import dla
from dla.testing import CheckResult, Report, check_decomposer, check_direction
from dla.testing.check_decomposer import check_law
from dla.testing.laws import LAWS
from dla.testing.subjects import as_subject
from mutants.catalogue import PROMPTS, Mutant


def named_step(mutant: Mutant) -> CheckResult:
    """What the check that must find it says; of a decomposer no other check is made."""
    if isinstance(mutant.of, dla.Decomposer):
        [law] = [law for law in LAWS if law.name == mutant.check]
        return check_law(law, copy.deepcopy(mutant.of), models=mutant.models).steps[0]
    [step] = [step for step in report_of(mutant).steps if step.name == mutant.check]
    return step


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
