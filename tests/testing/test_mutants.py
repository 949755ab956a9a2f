"""The kit finds every mutant, by the right law, and passes what is unusual and right."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from mutants.catalogue import MUTANTS, RIGHT, Mutant
from mutants.trying import found_by, report_of

import dla
from dla.testing import check_decomposer

DOCS = Path(__file__).parents[2] / "docs"
FEW = ("gpt2", "llama", "olmo2")
"""LayerNorm with biases, RMSNorm with grouped queries, norms after sublayers."""


@pytest.fixture(scope="module")
def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_mutants", DOCS / "make_mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_found_by_the_law_that_it_breaks(mutant: Mutant) -> None:
    assert mutant.check in found_by(mutant), str(report_of(mutant))


@pytest.mark.parametrize("decomposer", RIGHT, ids=lambda decomposer: type(decomposer).__name__)
def test_what_is_unusual_and_right_passes(decomposer: dla.Decomposer) -> None:
    check_decomposer(decomposer, models=FEW).raise_for_failure()


def test_the_table_in_the_docs_is_what_the_kit_says(table: ModuleType) -> None:
    shown = (DOCS / "mutants.md").read_text(encoding="utf-8")
    assert shown == table.page(), "make it again: python docs/make_mutants.py"


def test_every_law_has_a_mutant() -> None:
    names = {step.name for step in check_decomposer(dla.HeadDecomposer(), models=["gpt2"]).steps}
    assert names - {mutant.check for mutant in MUTANTS} == set()


def test_names_are_told_apart() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)
    assert all(mutant.mistake.endswith(".") for mutant in MUTANTS)
