"""The kit finds every mutant, by the right law, and passes what is unusual and right."""

import importlib.util
import itertools
import re
from pathlib import Path
from types import ModuleType

import pytest
from mutants.catalogue import MUTANTS, RIGHT, Mutant
from mutants.trying import found_by, named_step

import dla
from dla.testing import check_decomposer
from dla.testing.laws import LAWS

DOCS = Path(__file__).parents[2] / "docs"
FEW = itertools.cycle(("phi-grouped-query", "olmo2"))
"""LayerNorm, parallel, biases everywhere, grouped queries; RMSNorm, a norm after each sublayer. One each, for time."""

SAMPLE = MUTANTS[::16]
"""Those whose row in the table is made again, with all checks; of the others only the check that must find them."""


def _named(value: object) -> str:
    return value if isinstance(value, str) else type(value).__name__


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_mutants", DOCS / "make_mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_found_by_the_law_that_it_breaks(mutant: Mutant) -> None:
    assert not named_step(mutant).ok


@pytest.mark.parametrize(("decomposer", "model"), list(zip(RIGHT, FEW, strict=False)), ids=_named)
def test_what_is_unusual_and_right_passes(decomposer: dla.Decomposer, model: str) -> None:
    check_decomposer(decomposer, models=[model]).raise_for_failure()


def test_the_table_in_the_docs_is_what_the_kit_says(drawing: ModuleType) -> None:
    shown = drawing.PAGE.read_text(encoding="utf-8")

    def found(mutant: Mutant) -> list[str]:
        return found_by(mutant) if mutant in SAMPLE else found_in(shown, mutant)

    assert shown == drawing.page(found), "make it again: python docs/make_mutants.py"
    assert all(mutant.check in found_in(shown, mutant) for mutant in MUTANTS)


def test_every_law_has_a_mutant() -> None:
    assert {law.name for law in LAWS} <= {mutant.check for mutant in MUTANTS}


def test_mutants_have_names_and_say_what_is_wrong() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert [mutant.name for mutant in MUTANTS if not re.fullmatch(r"[A-Z`].*\.", mutant.mistake)] == []


def found_in(page: str, mutant: Mutant) -> list[str]:
    """The checks that a row of the table lists."""
    row = re.search(rf"^\| `{mutant.name}` \|.*\| (.*) \|$", page, re.MULTILINE)
    return [] if row is None else row[1].replace("*", "").split(", ")
