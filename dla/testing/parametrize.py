"""One pytest test for each law and each thing that must keep it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

from dla.decomposers.base import Decomposer
from dla.directions import Direction
from dla.testing.adapters import check_adapter
from dla.testing.decomposers import run_check
from dla.testing.directions import check_direction
from dla.testing.laws import CHECKS, Check
from dla.testing.profiles import Profile


@final
@dataclass(frozen=True)
class LawCheck:
    """One law, as a test calls it.

    Attributes:
        check: The law.
        models: As in `check_decomposer`.
        profile: As in `check_decomposer`.
    """

    check: Check
    models: Sequence[Any] | None
    profile: Profile

    def __call__(self, decomposer: Decomposer) -> None:
        """Nothing if the decomposer keeps the law.

        Raises:
            AssertionError: If it does not; says what was expected, on what, and why it is likely not so.
        """
        step = run_check(self.check, decomposer, self.models, self.profile)
        if not step.ok:
            raise AssertionError(f"{step.name}: {step.problem}")

    def __str__(self) -> str:
        return self.check.name.replace(" ", "_")


@final
@dataclass(frozen=True)
class WholeCheck:
    """All that is checked of a model, an adapter or a direction, as a test calls it."""

    name: str
    report: Callable[[Any], Any]

    def __call__(self, subject: Any) -> None:
        """Nothing if all is right.

        Raises:
            AssertionError: If something is not; says what.
        """
        self.report(subject).raise_for_failure()

    def __str__(self) -> str:
        return self.name


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
        ValueError: If there is nothing to check.
    """
    import pytest  # noqa: PLC0415 only who writes tests needs it

    if not len(subjects):
        raise ValueError("No subject was given. Pass at least one decomposer, adapter, model or direction.")
    pairs = [(subject, check) for subject in subjects for check in _checks_of(subject, models, profile)]
    names = [f"{type(subject).__name__}-{check}" for subject, check in pairs]
    return pytest.mark.parametrize(("subject", "check"), pairs, ids=names)


def _checks_of(subject: Any, models: Sequence[Any] | None, profile: Profile) -> Iterator[LawCheck | WholeCheck]:
    if isinstance(subject, Decomposer):
        yield from (LawCheck(check, models, profile) for check in CHECKS if subject.row_kind in check.row_kinds)
    elif isinstance(subject, Direction):
        yield WholeCheck("direction", lambda direction: check_direction(direction, models=models))
    else:
        yield WholeCheck("adapter", check_adapter)
