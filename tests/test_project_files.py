"""What several files of the project say is the same in each."""

import re
import tomllib
from pathlib import Path

import dla

ROOT = Path(__file__).parents[1]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def found(pattern: str, name: str) -> list[str]:
    return re.findall(pattern, text(name), re.MULTILINE)


def test_the_citation_names_the_version() -> None:
    assert found(r"^version: (.*)$", "CITATION.cff") == [dla.__version__]


def test_editors_wrap_where_ruff_does() -> None:
    length = tomllib.loads(text("pyproject.toml"))["tool"]["ruff"]["line-length"]
    assert found(r"^max_line_length = (\d+)$", ".editorconfig") == [str(length)]


def test_the_hooks_run_the_ruff_of_the_constraints() -> None:
    (rev,) = found(r"ruff-pre-commit\n    rev: v([\d.]+)", ".pre-commit-config.yaml")
    assert found(r"^ruff==(.*)$", "constraints/tl3.txt") == found(r"^ruff==(.*)$", "constraints/tl4.txt") == [rev]


def test_unreleased_changes_have_their_heading() -> None:
    assert found(r"^## \[Unreleased\]$", "CHANGELOG.md") == ["## [Unreleased]"]
