"""What README.md and docs/ show is executed; where they show output, it is what is printed."""

import os
import shlex
import subprocess
from itertools import zip_longest

import pytest
from blocks import FILES, ROOT, Block, assert_shown, blocks
from transformer_lens.model_bridge import TransformerBridge
from typer.testing import CliRunner

import dla.demo
from dla.cli import app

HUB, NETWORK = "needs the hub", "needs the network"
LANGUAGES = {"python", "text", "console", "bash"}
ALL = [block for path in FILES for block in blocks(path)]


def of(language, *marks):
    return [block for block in ALL if block.language == language and block.mark in marks]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty folder that holds the demo model where a clone has it."""
    (tmp_path / "dla/demo").mkdir(parents=True)
    (tmp_path / "dla/demo/model").symlink_to(dla.demo.FOLDER, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_python_blocks_run_one_after_the_other(path, workplace, capsys):
    namespace = {"__name__": path.stem}
    for block, following in zip_longest(own := blocks(path), own[1:]):
        if block.language == "python" and block.mark != HUB:
            capsys.readouterr()
            block.run(namespace)
            if following is not None and following.language == "text":
                assert_shown(following.code, capsys.readouterr().out, following)


@pytest.mark.parametrize("block", of("python", HUB), ids=str)
def test_blocks_for_the_hub_run_on_what_the_hub_would_give(block, monkeypatch, capsys):
    model = dla.demo.load_small("raw")
    monkeypatch.setattr(TransformerBridge, "boot_transformers", lambda name: model)
    block.run({"__name__": "hub"})
    assert "the model's own logit" in capsys.readouterr().out


@pytest.mark.parametrize("block", of("console", ""), ids=str)
def test_console_blocks_print_what_they_show(block, workplace):
    for command, shown in sessions(block):
        assert command[0] == "dla", "run other commands in a ```bash block"
        run = CliRunner().invoke(app, command[1:])
        assert (run.exit_code == 0) is ('"kind": "error"' not in shown), run.output
        assert_shown(shown, run.stdout, block)


@pytest.mark.parametrize("block", of("bash", "", NETWORK), ids=str)
def test_bash_blocks_are_well_formed_and_their_targets_exist(block):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    subprocess.run(["bash", "-n", "-c", block.code], check=True)
    for line in block.code.splitlines():
        command = shlex.split(line, comments=True)
        assert command[0] == "make" or block.mark == NETWORK, f"{line!r} is not run by any test"
        if command[0] == "make":
            subprocess.run(["make", "--dry-run", *command[1:]], check=True, cwd=ROOT, env=environment)


def test_every_block_is_of_a_kind_that_is_run():
    assert {block.language for block in ALL} <= LANGUAGES | {"mermaid"}
    assert {block.mark for block in ALL} <= {"", HUB, NETWORK}
    for path in FILES:
        fences = path.read_text(encoding="utf-8").count("```")
        assert fences == 2 * len(blocks(path))


def test_there_is_an_example_in_each_language():
    assert {block.language for block in ALL} >= LANGUAGES


@pytest.mark.parametrize(
    ("shown", "printed"),
    [("L1H1 +3.93", "L1H2 +3.93"), ("L1H1 +3.93", "L1H1 +3.91"), ("gap +1.0e-07", "gap +1.0e-03"), ("a", "a\nb")],
)
def test_other_output_is_noticed(shown, printed):
    with pytest.raises(AssertionError, match="here shows"):
        assert_shown(shown, printed, "here")


def test_rounding_and_bars_are_not_noticed():
    assert_shown("│ x │ +3.9336 │ ███ │\ngap 9.5e-07", "│ x  │ +3.9337 │ ██ │\ngap 1.9e-06", "here")


def sessions(block: Block) -> list[tuple[list[str], str]]:
    """The commands of a console block, each with the output that is shown below it."""
    runs = []
    for session in block.code.removeprefix("$ ").split("\n$ "):
        command, _, shown = session.replace("\\\n", " ").partition("\n")
        runs.append((shlex.split(command), shown))
    return runs
