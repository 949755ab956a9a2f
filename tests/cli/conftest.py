"""The `dla` command, inside the test process and as users run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dla.cli import app
from dla.demo import FOLDER

PROMPT = "When Mary and John went to the store , John gave a drink to"


@pytest.fixture
def dla_command(monkeypatch):
    """Runs the command with the arguments given."""
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="dla")


@pytest.fixture
def attribute(dla_command):
    """Runs `dla attribute` on the demo model and prompt; options given take the place of these."""

    def run(**options):
        given = {"model": FOLDER, "prompt": PROMPT, "answer": " Mary", **options}
        arguments = [word for name, value in given.items() if value is not None for word in (f"--{name}", value)]
        return dla_command("attribute", *arguments)

    return run


@pytest.fixture
def shell():
    """Runs the installed command in a process of its own, without a network."""
    command = Path(sys.executable).with_name("dla")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "80"}

    def run(*arguments):
        return subprocess.run(
            [command, *arguments], capture_output=True, text=True, env=environment, check=False, encoding="utf-8"
        )

    return run
