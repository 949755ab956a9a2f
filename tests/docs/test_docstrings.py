"""The examples in docstrings are executed."""

import doctest
import importlib
import inspect
import pkgutil
import re

import pytest

import dla

MODULES = ["dla", *(module.name for module in pkgutil.walk_packages(dla.__path__, "dla."))]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples(name):
    """The doctests of a module, each object's once."""
    found = doctest.DocTestFinder().find(importlib.import_module(name))
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    tests = examples(name)
    written = re.findall(r"^\s*>>> ", inspect.getsource(importlib.import_module(name)), re.MULTILINE)
    assert sum(len(test.examples) for test in tests) == len(written), "an example is not found by doctest"
    for test in tests:
        out = []
        doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=out.append)
        assert not out, "".join(out)


def test_there_are_examples():
    assert sum(bool(examples(name)) for name in MODULES) >= 3
