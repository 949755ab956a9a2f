"""Which rows `dla attribute` gives, and what it says of one of them."""

import json

import pytest
import torch
from cli_assertions import assert_line, assert_usage

import dla
import dla.demo
from dla.adapters.loading import load_model

PROMPT = "When Mary and John went to the store , John gave a drink to"
MADE = {
    "component": dla.ComponentDecomposer(),
    "layer": dla.LayerDecomposer(),
    "head": dla.HeadDecomposer(),
    "source": dla.SourceDecomposer(),
    "neuron": dla.NeuronDecomposer(),
    "block": dla.BlockDecomposer(),
    "embedding": dla.EmbeddingDecomposer(),
    "bias": dla.BiasDecomposer(),
    "lens": dla.LensDecomposer(),
}


def rows_of(result):
    return dict(zip(result.labels, result.values.flatten().tolist(), strict=True))


def rows_in(path):
    """The values of a JSON file by label."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return dict(zip(content["labels"], content["values"], strict=True))


def expected(decomposer, dtype=torch.float32):
    model = load_model(dla.demo.FOLDER, dtype)
    result = dla.Attributor(model, decomposer).attribute(PROMPT, dla.Logit(" Mary"))
    return rows_of(result)


@pytest.mark.parametrize("name", MADE)
def test_each_decomposition_is_that_of_the_library(attribute, tmp_path, name):
    run = attribute(decompose=name, json=tmp_path / "rows.json")
    assert run.exit_code == 0, run.output
    assert rows_in(tmp_path / "rows.json") == pytest.approx(expected(MADE[name]), abs=1e-5)


def test_several_decompositions_are_mixed(attribute, tmp_path):
    file = tmp_path / "rows.json"
    run = attribute(decompose="heads+neuron", json=file)
    assert run.exit_code == 0, run.output
    assert rows_in(file) == pytest.approx(expected(dla.HeadDecomposer() | dla.NeuronDecomposer()), abs=1e-5)
    run = attribute(decompose="head+source")
    assert_line(run, 2, "Both HeadDecomposer and SourceDecomposer split '0_attn_out'")
    assert_usage(attribute(decompose="head+layer"), "The rows of 'layer' are a sequence and do not add up. Ask for it")


def test_a_row_is_refined(attribute, tmp_path):
    file = tmp_path / "rows.json"
    run = attribute(decompose="head", refine="L1H1", by="source", json=file)
    assert run.exit_code == 0, run.output
    model = dla.demo.load_small("raw")
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(PROMPT, dla.Logit(" Mary"))
    finer = result.refine("L1H1", by=dla.SourceDecomposer())
    assert rows_in(file) == pytest.approx(rows_of(finer), abs=1e-5)
    assert_line(
        attribute(decompose="head", refine="L1H1"),
        2,
        "--refine splits a part by what --by names. Give both, or neither.",
    )
    assert_line(attribute(decompose="head", refine="L9H1", by="source"), 2, "There is no part 'L9H1'")


def test_the_tokens_that_a_row_pushes(attribute):
    model = dla.demo.load_small("raw")
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(PROMPT, dla.Logit(" Mary"))
    expect = result.part("L1H1").top_tokens().up[0][0].strip()
    for options in ({}, {"refine": "L1H1", "by": "source"}):  # of the row as it was, where it was split
        run = attribute(**{"decompose": "head", "top-tokens": "L1H1", **options})
        assert run.exit_code == 0, run.output
        told = run.stdout.partition("The tokens that L1H1 pushes most")[2]
        assert expect in told.splitlines()[4]
    assert_line(attribute(**{"top-tokens": "L9H1"}), 2, "There is no part 'L9H1'")


def test_the_dtype_that_a_model_runs_in(attribute, tmp_path):
    file = tmp_path / "rows.json"
    assert attribute(dtype="float64", json=file).exit_code == 0
    rows = expected(dla.ComponentDecomposer(), torch.float64)
    assert rows_in(file) == pytest.approx(rows, abs=1e-12)
    assert json.loads(file.read_text())["dtype"] == "float64"


def test_what_is_saved_is_compared(attribute, dla_command, tmp_path):
    one, other = tmp_path / "one.nc", tmp_path / "other.nc"
    assert attribute(decompose="head", save=one).exit_code == 0
    assert attribute(decompose="head", answer=" John", save=other).exit_code == 0
    torch.testing.assert_close(dla.load(one).values.sum(), torch.tensor(sum(expected(dla.HeadDecomposer()).values())))
    assert dla_command("compare", one, other).exit_code == 0
    assert_line(attribute(save=tmp_path / "one.json"), 2, "--save 'one.json' has the ending of another format")
