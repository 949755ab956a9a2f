"""One pytest test for each law and each thing that must keep it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

from dla.decomposers.base import Decomposer
from dla.directions import Direction
from dla.edits import Ablation
from dla.inputs.given import items, shown
from dla.testing.check_decomposer import check_law, check_options
from dla.testing.check_direction import check_direction
from dla.testing.laws import LAWS
from dla.testing.named import report_on
from dla.testing.profiles import Profile
from dla.testing.report import Report


@final
@dataclass(frozen=True)
class SubjectCheck:
    """Something that is checked of a decomposer, a direction, an adapter or a model, as a test calls it.

    Attributes:
        name: Of the law, or "direction" or "adapter" for all that is checked of one.
        report: What a subject is found to be.
    """

    name: str
    report: Callable[[Any], Report]

    def __call__(self, subject: Any) -> None:
        """Returns if the subject is right.

        Raises:
            AssertionError: If it is not; says what was expected, on what, and why it is likely not so.
        """
        self.report(subject).raise_for_failure()

    def __str__(self) -> str:
        return self.name.replace(" ", "_")


def parametrize_with_checks(
    subjects: Sequence[Any], *, models: Sequence[Any] | None = None, profile: Profile = Profile.FULL
) -> Any:
    """A decorator that makes one test of each law for each decomposer; and one for each adapter, model or direction.

    The test gets `subject` and `check`, and calls the one with the other. It needs pytest.

        @parametrize_with_checks([MyDecomposer(), MyDecomposer(layers=[1])])
        def test_my_decomposers(subject, check):
            check(subject)

    Args:
        subjects: Decomposers, directions, models or adapters.
        models: As in `check_decomposer`.
        profile: As in `check_decomposer`.

    Raises:
        TypeError: If an argument is of another kind.
        ValueError: If there is nothing to check.
    """
    import pytest  # noqa: PLC0415 only who writes tests needs it

    given = items(subjects)
    if given is None:
        raise TypeError(f"The subjects are {shown(subjects)}. Pass decomposers, models or directions in a list.")
    if not given:
        raise ValueError("No subject was given. Pass at least one decomposer, adapter, model or direction.")
    check_options(models, profile)
    pairs = [(subject, check) for subject in given for check in checks_of(subject, models, profile)]
    names = [f"{type(subject).__name__}-{check}" for subject, check in pairs]
    return pytest.mark.parametrize(("subject", "check"), pairs, ids=names)


def checks_of(subject: Any, models: Sequence[Any] | None, profile: Profile) -> Iterator[SubjectCheck]:
    """One check for each law of a decomposer; one for anything else.

    Args:
        subject: A decomposer, a direction, a model or an adapter.
        models: As in `check_decomposer`.
        profile: As in `check_decomposer`.
    """
    if isinstance(subject, Decomposer):
        for law in LAWS:
            if subject.row_kind in law.row_kinds:
                yield SubjectCheck(law.name, partial(check_law, law, models=models, profile=profile))
    elif isinstance(subject, Direction):
        yield SubjectCheck("direction", partial(check_direction, models=models))
    else:
        kind = "ablation" if isinstance(subject, Ablation) else "dictionary" if hasattr(subject, "W_dec") else "adapter"
        yield SubjectCheck(kind, report_on)
