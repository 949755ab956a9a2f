"""Mistakes: the exit code, and one line on stderr that names the remedy."""

import shutil
from pathlib import Path

import pytest
from cli_assertions import assert_line, assert_usage
from transformers import BertConfig, BertLMHeadModel

import dla
import dla.demo


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decompose": "hed"}, ("--decompose", "'hed'", "'component', 'layer', 'head'", "Join several by +")),
        ({"decompose": "head+"}, ("--decompose", "'' is not one of")),
        ({"decompose": "head+heads"}, ("names one kind of rows twice",)),
        ({"refine": "L0H0", "by": "pieces"}, ("--by", "'pieces'")),
        ({"dtype": "int8"}, ("--dtype", "'int8'", "'bfloat16'")),
        ({"pos": "last"}, ("--pos", "integer")),
        ({"top": "0"}, ("--top", "1")),
        ({"answer": None}, ("Missing option '--answer'",)),
        ({"model": None}, ("Missing option '--model'",)),
        ({"prompt": None}, ("Missing option '--prompt'",)),
        ({"bottom": "3"}, ("--bottom",)),
    ],
)
def test_a_command_line_that_cannot_be_read(attribute, options, words):
    assert_usage(attribute(**options), *words)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--answer", " Mary", "--answer", " John"), "--answer is given 2 times. Give it once."),
        (("--answer", " Mary", "--answer", " Mary", "--answer= Mary"), "--answer is given 3 times"),
        (("--answer", " Mary", "--prompt", "When"), "--prompt is given 2 times"),
        (("--answer", " Mary", "--prepend-bos", "--no-prepend-bos"), "--prepend-bos is given 2 times"),
    ],
)
def test_an_option_given_twice(dla_command, arguments, word):
    assert_usage(dla_command("attribute", "--model", dla.demo.FOLDER, "--prompt", "When Mary", *arguments), word)


def test_an_option_that_may_be_repeated(dla_command, tmp_path):
    run = dla_command("summary", tmp_path, "--by", "order", "--by", "template")
    assert run.stderr.startswith("dla: ")
    assert_usage(dla_command("summary", tmp_path, "--top", 2, "--top", 3), "--top is given 2 times")


def test_a_command_that_does_not_exist(dla_command):
    assert_usage(dla_command("train"), "'train'")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"answer": " Mary John"}, ("is 2 tokens ('Mary', 'John')", "Pass one of them, or its id, written id:464.")),
        ({"answer": " Zebedee"}, ("' Zebedee' is not in the model's vocabulary", "Pass a token")),
        ({"answer": "id:500"}, ("500 is outside the vocabulary (0 to 120)", "Pass an id in that range")),
        (
            {"answer": "id:abc"},
            ("'id:abc' is not a token", "'abc' is not an id, which is a whole number", "Write id:464"),
        ),
        ({"answer": "id:"}, ("'' is not an id", "Write id:464")),
        ({"incorrect": "id:-3"}, ("'-3' is not an id",)),
        ({"incorrect": " John Mary"}, ("is 2 tokens", "written id:464")),
        ({"pos": 15}, ("pos=15 is out of range for a prompt of 15 tokens", "from -15 to 14")),
        ({"pos": -16}, ("pos=-16 is out of range",)),
        ({"prompt": "Mary " * 40}, ("41 tokens", "32", "Shorten it")),
        ({"decompose": "layer", "top": 3}, ("--top chooses among parts that add up", "Leave it out")),
    ],
)
def test_arguments_that_do_not_fit(attribute, options, words):
    assert_line(attribute(**options), 2, *words)


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/gpt2", "no/where/gpt2", "nowhere/", "~/nowhere", "a\\b"])
def test_a_path_without_a_folder(attribute, model):
    assert_line(attribute(model=model), 2, "is not a model folder", "Pass a folder that")


def test_a_folder_without_a_model(attribute, tmp_path):
    assert_line(attribute(model=tmp_path), 2, f"{str(tmp_path)!r} is not a model folder: it has no config.json")


@pytest.mark.parametrize(
    ("contents", "base"),
    [('{"base_model_name_or_path": "meta/llama"}', "of 'meta/llama' "), ("[]", ""), ("{", ""), ('{"a": 1}', "")],
)
def test_a_folder_with_an_adapter_and_no_model(attribute, tmp_path, contents, base):
    (tmp_path / "adapter_config.json").write_text(contents)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    told = f"holds an adapter {base}(LoRA, or its kin) and no model. Merge it into its model and save that"
    assert_line(attribute(model=tmp_path), 2, told, "merge_and_unload()", "then pass that folder")


def test_a_file_in_the_place_of_a_folder(attribute):
    file = dla.demo.FOLDER / "model.safetensors"
    assert_line(attribute(model=file), 2, "is not a model folder", "Pass a folder that")


def test_pickled_weights(attribute, tmp_path):
    shutil.copy(dla.demo.FOLDER / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    assert_line(attribute(model=tmp_path), 2, "pytorch_model.bin", "refused; save the model again")


def test_a_json_file_in_no_folder(attribute, tmp_path):
    assert_line(attribute(json=tmp_path / "no/result.json"), 2, "--json", "there is no folder", "Make it")


def test_a_json_file_that_is_a_folder(attribute, tmp_path):
    assert_line(attribute(json=tmp_path), 2, f"--json {str(tmp_path)!r} is a folder", "Pass the name of a file")


def test_a_file_with_the_ending_of_another_format(attribute, dla_command, tmp_path):
    run = attribute(json=tmp_path / "result.csv")
    assert_line(run, 2, "--json 'result.csv' has the ending of another format", "JSON. Name it 'result.json'.")
    run = dla_command("summary", tmp_path, "--csv", tmp_path / "means.parquet")
    assert_line(run, 2, "--csv 'means.parquet' has the ending of another format", "CSV. Name it 'means.csv'.")
    assert list(tmp_path.iterdir()) == []


def test_a_json_file_that_cannot_be_written_leaves_nothing(attribute, tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(f"No space left on device: {str(target)!r}")

    monkeypatch.setattr(Path, "replace", full)
    (tmp_path / "result.json").write_text("the old one")
    run = attribute(json=tmp_path / "result.json")
    assert run.exit_code == 1
    assert run.stderr.startswith("dla: No space left on device")
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert (tmp_path / "result.json").read_text() == "the old one"


def test_a_hub_name_without_a_network(shell):
    run = shell("attribute", "--model", "gpt2", "--prompt", "Mary", "--answer", " John")
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.startswith("dla: There is no folder 'gpt2' here, and the hub gave no such model (")
    assert "Pass a folder that holds the model and its tokenizer" in run.stderr
    assert run.stderr.count("\n") == 1


def test_weights_that_were_cut_short(attribute, tmp_path):
    folder = shutil.copytree(dla.demo.FOLDER, tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert_line(attribute(model=folder), 1, f"The model in {str(folder)!r} could not be loaded (", "Pass a folder")


def test_a_model_without_a_tokenizer(attribute, tmp_path):
    for file in ("config.json", "model.safetensors"):
        shutil.copy(dla.demo.FOLDER / file, tmp_path)
    assert_line(attribute(model=tmp_path), 2, "no tokenizer", "tokenizer.save_pretrained(folder)")


def test_a_model_that_is_no_causal_language_model(attribute, tmp_path):
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertLMHeadModel(BertConfig(vocab_size=121, is_decoder=True, **sizes)).save_pretrained(tmp_path)
    for file in dla.demo.FOLDER.glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    assert_line(attribute(model=tmp_path), 1, "stream")


class Forgetful(dla.Decomposer):
    """Forgets the embeddings."""

    def writes(self, model):
        return [write for layer in range(model.n_layers) for write in model.sublayers(layer)]


class Defective(dla.Decomposer):
    """Has an error in it."""

    def writes(self, model):
        raise RuntimeError("a defect")


def test_rows_that_do_not_add_up(attribute, monkeypatch):
    monkeypatch.setattr(dla, "HeadDecomposer", Forgetful)
    assert_line(attribute(decompose="head"), 1, "Forgetful miss the model's logit by")


def test_a_defect_keeps_its_traceback(attribute, monkeypatch):
    monkeypatch.setattr(dla, "HeadDecomposer", Defective)
    run = attribute(decompose="head")
    assert run.exit_code == 1
    assert isinstance(run.exception, RuntimeError)
