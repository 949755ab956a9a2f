"""What the library has, the command has: rows, pieces, tokens, precision; JSON alone on stdout; exit codes."""

import json
import signal
import subprocess
import sys

import pandas as pd
import pytest
import torch
from cli_assertions import assert_line, assert_usage
from jsonschema import Draft202012Validator
from transformer_lens.model_bridge import TransformerBridge

import dla
import dla.demo
from dla.views.document import schema

PROMPT = "When Mary and John went to the store , John gave a drink to"
VALIDATOR = Draft202012Validator(schema())
DIFFERENCE = {"incorrect": " John"}


def attributed(decomposer, direction=None):
    direction = direction or dla.LogitDifference(" Mary", " John")
    return dla.Attributor(dla.demo.load_small("raw"), decomposer).attribute(PROMPT, direction)


def document(run, code=0):
    """What stands on stdout alone, and is of the schema."""
    assert run.exit_code == code, run.output
    found = json.loads(run.stdout)
    VALIDATOR.validate(found)
    return found


def values(found):
    return {row["part"]: pytest.approx(row["value"], abs=1e-5) for row in found["directions"][0]["rows"]}


def of(result):
    return dict(zip(result.labels, result.values.flatten().tolist(), strict=True))


@pytest.mark.parametrize(
    ("words", "decomposer"),
    [
        ("neurons", dla.NeuronDecomposer()),
        ("source", dla.SourceDecomposer()),
        ("blocks", dla.BlockDecomposer()),
        ("embeddings", dla.EmbeddingDecomposer()),
        ("biases", dla.BiasDecomposer()),
        ("expert", dla.ExpertDecomposer()),
        ("layers", dla.LayerDecomposer()),
        ("components", dla.ComponentDecomposer()),
        ("heads+neurons", dla.HeadDecomposer() | dla.NeuronDecomposer()),
        ("neuron + source", dla.NeuronDecomposer() | dla.SourceDecomposer()),
    ],
)
@pytest.mark.filterwarnings("ignore::dla.CoarseDecompositionWarning")
def test_each_decomposition_has_the_rows_of_the_library(attribute, words, decomposer):
    found = document(attribute(decompose=words, json="-", **DIFFERENCE))
    assert values(found) == of(attributed(decomposer))


def test_decompositions_that_split_the_same_are_refused(attribute):
    assert_line(attribute(decompose="head+source"), 2, "Both HeadDecomposer and SourceDecomposer split")


def test_a_part_in_pieces_and_the_tokens_that_it_pushes(attribute):
    result = attributed(dla.HeadDecomposer()).refine("L1H1", by=dla.SourceDecomposer())
    asked = {"decompose": "head", "refine": "L1H1", "by": "source", "top-tokens": "L1H1 ← 2", **DIFFERENCE}
    found = document(attribute(json="-", **asked))
    assert values(found) == of(result)
    pushed = result.part("L1H1 ← 2").top_tokens(10)
    assert [each["token"] for each in found["top_tokens"]["up"]] == [token for token, _ in pushed.up]
    run = attribute(**asked)
    assert (run.exit_code, run.stderr) == (0, "")
    assert "L1H1 ← 2" in run.stdout
    assert "The tokens that L1H1 ← 2" in run.stdout
    assert repr(pushed.up[9][0]) in run.stdout
    assert_line(attribute(refine="L1H1"), 2, "--refine splits a part by what --by names. Give both, or neither.")
    assert_line(attribute(by="head"), 2, "Give both, or neither")
    assert_line(attribute(decompose="head", refine="L9H9", by="source"), 2, "'L9H9'")
    assert_line(attribute(**{"top-tokens": "L9H9"}), 2, "'L9H9'")


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_the_model_runs_in_the_precision_that_is_asked_for(attribute, dtype, monkeypatch):
    found = document(attribute(dtype=dtype, json="-", decompose="head"))
    assert found["dtype"] == dtype
    (one,) = found["directions"]
    assert abs(one["gap"]) <= one["tolerance"]
    assert ("rounding" in values(found)) == (dtype == "bfloat16")
    asked, model = [], dla.demo.load_small("raw")

    def boot(name, **options):
        asked.append(options["dtype"])
        return model

    monkeypatch.setattr(TransformerBridge, "boot_transformers", boot)
    attribute(model="gpt2", dtype=dtype)
    assert asked == [getattr(torch, dtype)]


def test_json_alone_stands_on_stdout_and_files_are_written_too(attribute, tmp_path):
    found = document(attribute(json="-", top=2, csv=tmp_path / "a.csv", save=tmp_path / "a.nc", decompose="head"))
    assert len(found["directions"][0]["rows"]) == 2
    assert found["directions"][0]["rest"]["rows"] == 18
    assert found["caveats"]
    assert found["answers"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.csv", "a.nc"]
    assert dla.load(tmp_path / "a.nc").labels == attributed(dla.HeadDecomposer(), dla.Logit(" Mary")).labels


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        ({"answer": " Mary John"}, 2, ("wrong_value", "' Mary John'", "Pass one of them, or its id, written id:464.")),
        ({"pos": 99}, 2, ("wrong_value", "99", "pos=99 is out of range")),
        ({"top": 0}, 2, ("usage", "'--top'", "Try 'dla attribute --help'.")),
        ({"prompt": None}, 2, ("usage", "'--prompt'", "Try")),
        ({"prompt": None, "model": None}, 2, ("usage", "'--model'", "Missing")),
        ({"decompose": "hed"}, 2, ("usage", "'--decompose'", "Join several by +")),
        ({"model": "gpt2"}, 1, ("dla_error", "'gpt2'", "Pass a folder that holds the model")),
    ],
)
def test_an_error_is_a_document_too(attribute, monkeypatch, options, code, told):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run = attribute(json="-", **options)
    error = document(run, code)["error"]
    assert (error["code"], error["value"]) == told[:2]
    assert told[2] in error["message"]
    assert error["remedy"] in error["message"]


def test_an_error_in_json_is_not_told_twice(attribute, dla_command):
    assert attribute(json="-", answer=" Mary John").stderr == ""
    run = dla_command("attribute", "--json=-", "--bottom", "3")
    assert document(run, 2)["error"]["code"] == "usage"


def test_a_defect_is_a_document_and_a_traceback(attribute, monkeypatch):
    def broken():
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr(dla, "HeadDecomposer", broken)
    run = attribute(json="-", decompose="head")
    assert isinstance(run.exception, RuntimeError)
    assert document(run, 1)["error"]["code"] == "defect"


def test_ctrl_c_in_json(attribute, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dla.cli.attribute.load_attributor", stop)
    assert document(attribute(json="-"), 130)["error"]["code"] == "stopped"
    assert_line(attribute(), 130, "Stopped.")


def test_all_that_is_missing_is_told_at_once(dla_command):
    assert_usage(dla_command("attribute"), "'--model', '--prompt', '--answer'")
    assert_usage(dla_command("attribute", "--answer", ""), "'--model', '--prompt'.")
    assert_usage(dla_command("sweep", "--limit", 3), "'CORPUS', '--model', '--out'")
    assert_usage(dla_command("compare"), "'A', 'B'")
    assert dla_command("attribute", "--help").exit_code == 0


@pytest.mark.parametrize("command", ["attribute", "sweep", "summary", "compare", "report", "check", "demo"])
def test_h_is_help(dla_command, command):
    assert dla_command(command, "-h").stdout == dla_command(command, "--help").stdout != ""
    assert "Usage: dla" in dla_command("-h").stdout


def test_python_dash_m_dla_is_the_command():
    run = subprocess.run([sys.executable, "-m", "dla", "compare"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "Usage: dla compare" in run.stderr


_ENDLESS = """
import sys, time
import dla.adapters.loading
from dla.cli import main

def load_model(*_):
    print("loading", file=sys.stderr, flush=True)
    time.sleep(600)

dla.adapters.loading.load_model = load_model
main()
"""


def test_ctrl_c_while_the_model_loads_ends_with_130():
    words = ("attribute", "--model", dla.demo.FOLDER, "--prompt", PROMPT, "--answer", " Mary")
    run = subprocess.Popen([sys.executable, "-c", _ENDLESS, *words], stdout=-1, stderr=-1, text=True)
    assert run.stderr is not None
    assert run.stderr.readline() == "loading\n"  # now it is there, however slow the machine
    run.send_signal(signal.SIGINT)
    out, error = run.communicate(timeout=60)
    assert (run.returncode, out) == (130, "")
    assert error == "dla: Stopped. Nothing was written.\n"


def test_bytes_that_are_no_text(shell):
    run = shell("attribute", "--model", dla.demo.FOLDER, "--prompt", b"Mary \xff\xfe", "--answer", " Mary")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("dla: ")
    assert run.stderr.count("\n") == 1


def test_files_that_cannot_be_compared_are_named_with_the_remedy(attribute, dla_command, tmp_path):
    for name in ("a", "b"):
        attribute(json=tmp_path / f"{name}.json", csv=tmp_path / f"{name}.csv", save=tmp_path / f"{name}.nc")
    told = "a.json", "b.json", "holds numbers to read", "dla attribute --save a.nc"
    assert_line(dla_command("compare", tmp_path / "a.json", tmp_path / "b.json"), 2, *told)
    assert_line(dla_command("compare", tmp_path / "a.csv", tmp_path / "b.nc"), 2, "a.csv", "--save a.nc")
    assert dla_command("compare", tmp_path / "a.nc", tmp_path / "b.nc").exit_code == 0
    assert_line(dla_command("compare", tmp_path, tmp_path), 2, "is not a sweep's folder")
    (tmp_path / "c.nc").write_bytes((tmp_path / "a.nc").read_bytes()[:-100])
    assert_line(dla_command("compare", tmp_path / "a.nc", tmp_path / "c.nc"), 1, "cut short")


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory):
    rows = pd.DataFrame({"prompt": [PROMPT] * 2, "answer": [" Mary"] * 2, "who": ["a", "b"]})
    attributor = dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer())
    return [dla.sweep(rows, attributor, tmp_path_factory.mktemp("s") / "s", progress=False).path for _ in range(2)]


def test_summaries_and_comparisons_are_documents_too(dla_command, sweeps, tmp_path):
    summary = dla.Summary.load(sweeps[0], "who")
    found = document(dla_command("summary", sweeps[0], "--by", "who", "--top", 2, "--json", "-"))
    assert found == json.loads(summary.to_json(2))
    run = dla_command("summary", sweeps[0], "--json", tmp_path / "s.json")
    assert "L1H1" in run.stdout
    assert json.loads((tmp_path / "s.json").read_text())["groups"][0]["prompts"] == 2
    found = document(dla_command("compare", *sweeps, "--json", "-"))
    assert all(row["mean"] == 0 for row in found["groups"][0]["rows"])
    result = attributed(dla.HeadDecomposer())
    result.save(tmp_path / "a.nc")
    found = document(dla_command("compare", tmp_path / "a.nc", tmp_path / "a.nc", "--top", 3, "--json", "-"))
    assert (found["kind"], len(found["directions"][0]["rows"])) == ("comparison", 3)
    error = document(dla_command("summary", tmp_path, "--json", "-"), 2)["error"]
    assert error["value"] == repr(str(tmp_path))
    assert error["remedy"] == "Pass one that dla sweep wrote."
