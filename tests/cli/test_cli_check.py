"""`dla check`: the checks of `dla.testing` by name."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dla.cli import app

MODULE = """
import torch
import dla


class Halved(dla.Ablation):
    def replace(self, own, other):
        return 0.5 * own.values


class Noise(dla.Ablation):
    def replace(self, own, other):
        return torch.rand_like(own.values)
"""


@pytest.mark.parametrize(
    ("name", "code", "words"), [("Halved", 0, "padding"), ("Noise", 1, "repeatable"), ("X", 2, "")]
)
def test_the_exit_code_says_what_was_found(
    name: str, code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checked_module.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    result = CliRunner().invoke(app, ["check", f"checked_module:{name}", "--html", "found.html"])
    assert result.exit_code == code, result.output
    assert words in result.output
    assert (tmp_path / "found.html").is_file() == (code < 2)
