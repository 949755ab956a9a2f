"""What the kit says of each mutant; each is tried once a session."""

from functools import cache

import dla
from dla.testing import Report, check_decomposer
from dla.testing.subjects import as_subject
from mutants.catalogue import Mutant


@cache
def report_of(mutant: Mutant) -> Report:
    """What the kit says of one mutant, on the model that shows its mistake."""
    if isinstance(mutant.of, dla.Decomposer):
        return check_decomposer(mutant.of, models=[mutant.on])
    return check_decomposer(mutant.by, models=[mutant.of(as_subject(mutant.on).model())])


def found_by(mutant: Mutant) -> list[str]:
    """The checks that see it."""
    return [step.name for step in report_of(mutant).failures()]
