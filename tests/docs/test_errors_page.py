"""The page on errors names every error class, and quotes what the library really says."""

import ast
import inspect
import re

from blocks import ROOT

import dla.errors

PAGE = (ROOT / "docs/errors.md").read_text(encoding="utf-8")


def messages() -> list[str]:
    """All texts in the library's code; values in them are one space."""
    found = []
    for file in (ROOT / "dla").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(v.value if isinstance(v, ast.Constant) else "\0" for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_every_class_has_a_section() -> None:
    own = [name for name, kind in inspect.getmembers(dla.errors, inspect.isclass) if kind.__module__ == "dla.errors"]
    titles = re.findall(r"^## (\w+)$", PAGE, re.MULTILINE)
    assert set(own) - {"DLAError", "DLAWarning"} == set(titles)


def test_quoted_messages_are_the_librarys() -> None:
    quotes, said = re.findall(r"^> (.+)$", PAGE, re.MULTILINE), messages()
    assert len(quotes) > 15
    assert [quote for quote in quotes if not any(quote in text for text in said)] == []
