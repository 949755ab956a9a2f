"""The fenced blocks of a Markdown file, and the comparison of printed output with what a file shows."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pytest

ROOT = Path(__file__).parents[2]
FILES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+\.\d*(?:e[-+]?\d+)?(?![\w.])")
_RULE = re.compile(r"[━─]+")
_BAR = re.compile("█+")


@final
@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        path: The file.
        line: Where its code starts, from 1.
        language: What stands after the fence.
        code: What is in it.
        mark: The comment right before it, such as "needs the hub"; empty if there is none.
    """

    path: Path
    line: int
    language: str
    code: str
    mark: str

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}"

    def run(self, namespace: dict[str, object]) -> None:
        """Executes Python code, with the line numbers of the file."""
        exec(compile("\n" * (self.line - 1) + self.code, str(self.path), "exec"), namespace)


def blocks(path: Path) -> list[Block]:
    """The blocks of a file, in order."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(path, text.count("\n", 0, m.start("code")) + 1, m["language"], m["code"], m["mark"] or "")
        for m in _BLOCK.finditer(text)
    ]


def assert_shown(shown: str, printed: str, where: object) -> None:
    """Compares texts exactly and numbers up to rounding; how long a bar or a rule is does not matter.

    Numbers of less than 1e-4 are rounding errors, of which only the smallness is compared.
    """
    expected, actual = _plain(shown), _plain(printed)
    assert _NUMBER.sub("#", actual) == _NUMBER.sub("#", expected), f"{where} shows other text than is printed"
    for here, there in zip(_NUMBER.findall(expected), _NUMBER.findall(actual), strict=True):
        assert float(there) == pytest.approx(float(here), rel=2e-3, abs=2e-4), f"{where} shows {here}, not {there}"


def _plain(text: str) -> str:
    text = _BAR.sub("█", _RULE.sub("─", text))
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())
