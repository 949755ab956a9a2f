import pytest

import dla
import dla.demo
from dla.cli.demo import ANSWER, INCORRECT, PROMPT


@pytest.fixture(scope="module")
def result():
    model = dla.demo.load("raw")
    return dla.Attributor(model, dla.HeadDecomposer()).attribute(PROMPT, dla.LogitDifference(ANSWER, INCORRECT))


def test_the_demo_prints_the_table_of_the_heads(dla_command, result):
    run = dla_command("demo")
    assert run.exit_code == 0, run.output
    assert run.stderr == ""
    assert str(result.table().title) in run.stdout
    for label, value in result.top(len(result.parts)):
        assert f"│ {label} " in run.stdout
        assert f"{value:+.4f}" in run.stdout
    assert f"{float(result.logit):+.4f}" in run.stdout


def test_the_demo_says_what_the_model_is_and_what_it_answers(dla_command, result):
    out = dla_command("demo").stdout
    assert "small and synthetic: a GPT-2 of 3 layers and 12 heads" in out
    assert PROMPT in out
    assert float(result.logit) > 1, "the demo model no longer prefers the answer"


def test_the_demo_names_the_strongest_heads_and_the_gap(dla_command, result):
    out = dla_command("demo").stdout
    (first, value), (second, _), *_ = result.select(kind="head").top(12)
    assert f"Strongest: heads {first} ({value:+.2f}) and {second} (" in out
    assert f"rounding explains up to {float(result.tolerance):.1e}" in out
    assert float(result.gap.abs()) <= float(result.tolerance)


def test_the_installed_command_prints_nothing_else(shell):
    run = shell("demo")
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert run.stdout.startswith("The model is small and synthetic")
    assert "the model's own logit" in run.stdout


def test_the_version(dla_command):
    run = dla_command("--version")
    assert (run.exit_code, run.stdout) == (0, f"dla {dla.__version__}\n")


def test_help_names_the_commands(dla_command):
    run = dla_command("--help")
    assert run.exit_code == 0
    assert "demo" in run.stdout
    assert "attribute" in run.stdout


def test_no_arguments_print_the_help(dla_command):
    assert "Usage: dla" in dla_command().output
