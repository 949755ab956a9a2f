"""The names and files that the documents speak of exist."""

import ast
import importlib
import re
from pathlib import Path

import pytest
from blocks import FILES, ROOT

PAGES = (*FILES, ROOT / "CONTRIBUTING.md")
PATH = re.compile(r"`((?:dla|tests|docs|benchmarks|constraints|\.ci|\.github)/[\w./-]*)`")
DOTTED = re.compile(r"`(dla(?:\.\w+)+)\b(?![./])")  # `dla.result/1` is a format
CLASS = re.compile(r"`([A-Z]\w*[a-z]\w*)[`.(]")


def defined() -> set[str]:
    """The classes of the library."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in (ROOT / "dla").rglob("*.py")]
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def is_there(dotted: str) -> bool:
    """Whether a module, or an attribute of one, has that name."""
    found: object = importlib.import_module("dla")
    name = "dla"
    for part in dotted.split(".")[1:]:
        name = f"{name}.{part}"
        try:
            found = getattr(found, part) if hasattr(found, part) else importlib.import_module(name)
        except ImportError:
            return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [path for path in PATH.findall(text) if not (ROOT / path).exists()] == []
    assert [name for name in DOTTED.findall(text) if not is_there(name)] == []


def test_the_classes_of_the_architecture_page_exist() -> None:
    named = set(CLASS.findall((ROOT / "docs/architecture.md").read_text(encoding="utf-8")))
    assert {"Attributor", "Query", "Contraction", "Attribution"} <= named
    assert named - defined() - {"TypeError", "ValueError"} == set()


def test_what_is_gone_is_noticed() -> None:
    assert not is_there("dla.demo.load")
    assert not is_there("dla.no_such_module.name")
    assert is_there("dla.demo.load_small")
    assert CLASS.findall("`Attributor(model)` and `Query`, `W_U`, `Write.contract`") == ["Attributor", "Query", "Write"]
