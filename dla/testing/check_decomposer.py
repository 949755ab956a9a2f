"""`check_decomposer`: does a decomposer keep the laws, and if not, which, on what, and why?"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from dla.decomposers.base import Decomposer, as_decomposer
from dla.directions import Logit
from dla.errors import UnsupportedModelError
from dla.inputs.arguments import instance
from dla.inputs.given import count, shown
from dla.testing.laws import LAWS, Case, Law, Problem
from dla.testing.laws.memory import copied_or_none
from dla.testing.profiles import Profile, subjects_of
from dla.testing.raised import words_of_exception
from dla.testing.report import CheckResult, Report, timed
from dla.testing.subjects import Subject, as_subject, rebuilt_if_changed, subjects_given

_BATCH, _WIDTH = 2, 6
"""How many prompts are tried, and how many tokens each has."""

_NEEDED = ("plan", "contract")
"""The laws without which nothing may run at all."""


def check_decomposer(
    decomposer: Decomposer, *, models: Sequence[Any] | None = None, profile: Profile = Profile.FULL, seed: int = 0
) -> Report:
    """Tries every law that a decomposer must keep, on tiny models whose every parameter is random.

    What is wrong with the decomposer is not raised: the report says of each law whether it is kept, and of the first
    case that breaks it the smallest model and prompt, what was expected and what there is, and the likely cause.

    Args:
        decomposer: What is checked. A model that it refuses with an `UnsupportedModelError` is passed over.
        models: What to try it on instead of the profile's: models, adapters, or names of the catalogue
            (`dla.testing.models.HUGGING_FACE`).
        profile: How much is tried.
        seed: Selects the prompts.

    Raises:
        TypeError: If the decomposer is none, or an argument is of another kind.
        ValueError: If there is no model to try it on, or `seed` is negative.

    Returns:
        A report that prints itself, and ends where nothing else can be tried. `raise_for_failure()` makes a failing
        test of it; `ok`, `steps` and `first_failure()` say the same to a program.

    Examples:
        >>> import dla
        >>> from dla.testing import Profile, check_decomposer
        >>> report = check_decomposer(dla.HeadDecomposer(), profile=Profile.QUICK)
        >>> report.ok, len(report.steps)
        (True, 20)
    """
    as_decomposer(decomposer)
    check_options(models, profile)
    count(seed, "seed", "of them", least=0)
    steps = tuple(timed(_steps(decomposer, models, profile, seed)))
    return Report(f"check_decomposer: {type(decomposer).__name__}", steps)


def _steps(decomposer: Decomposer, models: Sequence[Any] | None, profile: Profile, seed: int) -> Iterator[CheckResult]:
    unused = copied_or_none(decomposer)
    for law in LAWS:
        step = _tried(law, decomposer, models, profile, seed, unused)
        yield step
        if not step.ok and law.name in _NEEDED and not _runs(decomposer, models, profile):
            return


def check_options(models: object, profile: object) -> None:
    """Checks on what something is to be tried.

    Raises:
        TypeError: If the models are no list, or the profile is none.
        ValueError: If there is no model, or none of a name.
    """
    instance(profile, Profile, "The profile", "Profile.FULL or Profile.QUICK")
    if models is not None:
        subjects_given(models)


def check_law(
    law: Law, decomposer: Decomposer, *, models: Sequence[Any] | None = None, profile: Profile = Profile.FULL
) -> Report:
    """Tries one law; the arguments are those of `check_decomposer`, and the report has one step."""
    step = _tried(law, decomposer, models, profile, 0, copied_or_none(decomposer))
    return Report(f"check_decomposer: {type(decomposer).__name__}", (step,))


def _tried(
    law: Law,
    decomposer: Decomposer,
    models: Sequence[Any] | None,
    profile: Profile,
    seed: int,
    unused: Decomposer | None,
) -> CheckResult:
    if as_decomposer(decomposer).row_kind not in law.row_kinds:
        return CheckResult(law.name, f"not asked of {decomposer.row_kind.value} rows")
    if unused is None and law.name == "memory":
        return CheckResult(law.name, f"not tried: {type(decomposer).__name__} cannot be copied")
    subjects = subjects_given(models) if models is not None else subjects_of(profile, law.models)
    tried, refused = 0, ""
    for subject in subjects:
        with rebuilt_if_changed(subject):
            refusal = _refusal(decomposer, subject)
            if refusal:
                refused = refusal
                continue
            tried += 1
            case = Case(decomposer, subject, _prompts(subject, seed, _BATCH, _WIDTH), unused)
            problem = _found(law, case)
            if problem is not None:
                smallest, found = _smallest(law, case, problem)
                return CheckResult(law.name, problem=_diagnosis(law, smallest, found), raised=found.raised)
    if not tried:
        return CheckResult(law.name, problem=f"It applies to none of the {len(subjects)} models. {refused}")
    return CheckResult(law.name, f"{tried} models; refuses others" if refused else f"{tried} models")


def _refusal(decomposer: Decomposer, subject: Subject) -> str:
    """Why the decomposer refuses a model; empty if it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decomposer.writes(subject.adapter())
    except UnsupportedModelError as error:
        return f"{subject}: {error}"
    except Exception:  # the law, which makes a plan as well, says what is wrong with it
        return ""
    return ""


def _runs(decomposer: Decomposer, models: Sequence[Any] | None, profile: Profile) -> bool:
    """Whether anything can be attributed."""
    first = next(iter(subjects_of(profile) if models is None else map(as_subject, models)))
    try:
        return bool(Case(decomposer, first, _prompts(first, 0, 1, 2)).attribute(Logit(0)).labels)
    except Exception:  # the law that was broken before has said what is wrong
        return False


def _prompts(subject: Subject, seed: int, batch: int, width: int) -> Int[Tensor, "batch pos"]:
    """Random ids of ordinary tokens."""
    size = subject.adapter().vocabulary.input_size
    return torch.randint(min(4, size - 1), size, (batch, width), generator=torch.Generator().manual_seed(seed))


def _found(law: Law, case: Case) -> Problem | None:
    """What is wrong; an error is a problem, too."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return law.find(case)
    except Exception as error:  # a decomposer under check may raise anything, and the report is about just that
        return Problem(words_of_exception(error), raised=True)


def _smallest(law: Law, case: Case, problem: Problem) -> tuple[Case, Problem]:
    """The smallest model, and the shortest prompt on it, that break the law as well.

    The cause is that of the longer prompts: at one position a gap equals some multiple of any row.
    """
    for subject in case.subject.smaller():
        smaller = replace(case, subject=subject)
        found = _found(law, smaller) if _plans(smaller) else None
        if found is not None:
            case, problem = smaller, found
            break
    if problem.tokens is not None:  # the law looks for its own
        return case, problem
    for width in range(1, case.tokens.shape[1] + 1):
        shorter = case.on(case.tokens[:1, :width])
        found = _found(law, shorter)
        if found is not None:
            return shorter, replace(found, cause=problem.cause)
    return case, problem


def _plans(case: Case) -> bool:
    """Whether a smaller case is one at all: a decomposer may ask for a layer that is no longer there."""
    try:
        return bool(case.decomposer.writes(case.adapter))
    except Exception:  # on this model it is no mistake; the larger one, on which there is one, is reported
        return False


def _diagnosis(law: Law, case: Case, problem: Problem) -> str:
    tokens = case.tokens if problem.tokens is None else problem.tokens
    batch, width = tokens.shape
    what = f"{batch} prompts of {width} tokens" if batch > 1 else f"a prompt of {width} token{'s' if width > 1 else ''}"
    lines = [
        law.statement,
        f"Broken by {type(case.decomposer).__name__} on {case.subject}, with {what}, {shown(tokens.tolist())}:",
        problem.what,
    ]
    return "\n".join([*lines, f"Likely cause: {problem.cause}"] if problem.cause else lines)
