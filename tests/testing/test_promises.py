"""Every sentence of an interface has a check, and the check a mutant that it finds."""

import dataclasses
import inspect
from pathlib import Path

import pytest
from mutants.catalogue import MUTANTS
from promises import INTERFACES, PROMISES, Promise, sentences_of

import dla
from dla.decomposers import Decomposer

FOUND_BY = {mutant.name: mutant.check for mutant in MUTANTS}
ROOT = Path(__file__).parents[2]


def without_a_promise(interface: type, promises: tuple[Promise, ...]) -> list[str]:
    return [s for s in sentences_of(interface) if sum(s.startswith(promise.begins) for promise in promises) != 1]


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda interface: interface.__name__)
def test_every_sentence_has_its_line_in_the_table_and_every_line_a_sentence(interface: type) -> None:
    promises, sentences = PROMISES[interface], sentences_of(interface)
    assert without_a_promise(interface, promises) == []
    assert [p.begins for p in promises if not any(s.startswith(p.begins) for s in sentences)] == []


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda interface: interface.__name__)
def test_every_line_has_a_check_whose_mutant_the_catalogue_knows_or_says_what_sees_to_it(interface: type) -> None:
    for promise in PROMISES[interface]:
        assert bool(promise.check) == bool(promise.mutant), promise
        assert not (promise.check and promise.unseen), promise
        if promise.check:
            assert FOUND_BY[promise.mutant] == promise.check, promise
        place = promise.unseen.partition(", ")[2]
        assert not place.startswith("tests/") or (ROOT / place).is_file(), promise


def test_a_sentence_that_only_says_what_something_is_comes_first() -> None:
    for interface, promises in PROMISES.items():
        words = [p.begins for p in promises if not p.check and not p.unseen]
        assert set(words) <= {promises[0].begins, "anatomy: What the model"}, interface


def test_a_new_sentence_is_seen() -> None:
    assert without_a_promise(Decomposer, PROMISES[Decomposer][1:]) == [sentences_of(Decomposer)[0]]


def test_every_public_class_that_may_be_subclassed_is_in_the_table() -> None:
    public = [getattr(dla, name) for name in dla.__all__]
    abstract = {found for found in public if inspect.isclass(found) and inspect.isabstract(found)}
    assert abstract
    assert abstract <= set(INTERFACES)


def test_promises_are_data() -> None:
    assert all(dataclasses.is_dataclass(promise) for promises in PROMISES.values() for promise in promises)
    assert set(PROMISES) == set(INTERFACES)
