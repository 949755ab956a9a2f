"""The kit finds every mutant, by the checks that its row in the docs lists, and passes what is unusual and right."""

import importlib.util
import itertools
import re
from pathlib import Path
from types import ModuleType

import pytest
from mutants.catalogue import DECOMPOSERS, MUTANTS, RIGHT, Mutant
from mutants.trying import report_of

import dla
from dla.testing import Profile, check_decomposer
from dla.testing.check_decomposer import check_law
from dla.testing.laws import LAWS
from dla.testing.laws.case import Models

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "mutants.md").read_text(encoding="utf-8")

FEW = itertools.cycle(("phi-grouped-query", "olmo2"))
"""LayerNorm, parallel, biases everywhere, grouped queries; RMSNorm, a norm after each sublayer. One each, for time."""


def _named(value: object) -> str:
    return value if isinstance(value, str) else type(value).__name__


def listed(mutant: Mutant) -> list[str]:
    """The checks that its row in the docs lists."""
    row = re.search(rf"^\| `{mutant.name}` \|.*\| (.*) \|$", PAGE, re.MULTILINE)
    assert row is not None, "make the page again: python docs/make_mutants.py"
    return row[1].replace("*", "").split(", ")


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_mutants", DOCS / "make_mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_found_by_the_checks_of_its_row_and_explained_by_its_own(mutant: Mutant) -> None:
    report = report_of(mutant)
    found, first = {step.name: step.problem for step in report.failures()}, report.first_failure()
    assert [name for name in found if name not in mutant.may] == listed(mutant), (
        "make the page again: python docs/make_mutants.py"
    )
    assert first is not None
    assert first.name == mutant.check, "another check seems to tell more"
    assert re.search(mutant.says, found[mutant.check]), found[mutant.check]


def test_the_page_is_what_is_made(drawing: ModuleType) -> None:
    assert drawing.page(listed) == PAGE, "make it again: python docs/make_mutants.py"


@pytest.mark.parametrize(("decomposer", "model"), list(zip(RIGHT, FEW, strict=False)), ids=_named)
def test_what_is_unusual_and_right_passes(decomposer: dla.Decomposer, model: str) -> None:
    check_decomposer(decomposer, models=[model]).raise_for_failure()


@pytest.mark.parametrize("decomposer", RIGHT, ids=_named)
def test_what_is_unusual_and_right_is_so_in_half_precision(decomposer: dla.Decomposer) -> None:
    for law in LAWS:
        if law.models is Models.DTYPES:
            check_law(law, decomposer, profile=Profile.QUICK).raise_for_failure()


def test_every_law_has_a_mutant() -> None:
    assert {law.name for law in LAWS} <= {mutant.check for mutant in DECOMPOSERS}


def test_mutants_have_names_and_say_what_is_wrong() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert [mutant.name for mutant in MUTANTS if not re.fullmatch(r"[A-Z`].*\.", mutant.mistake)] == []
