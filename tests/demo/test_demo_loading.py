import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers.utils import logging

import dla
from dla.adapters.loading import load_model
from dla.demo import FOLDER, KINDS, evaluate, giving_prompts, load_folder, load_hugging_face, load_small
from dla.demo.evaluation import last_logits, token_ids
from dla.demo.loading import DTYPES


def has_hooked_transformer():
    try:
        from transformer_lens import HookedTransformer  # noqa: F401
    except ImportError:
        return False
    return True


def load_or_skip(kind, path=FOLDER):
    if kind == "hooked" and not has_hooked_transformer():
        pytest.skip("HookedTransformer exists only in TransformerLens 3.x")
    return load_folder(path, kind)


@pytest.fixture(scope="module")
def hugging_face():
    return load_hugging_face(FOLDER)


@pytest.fixture(scope="module")
def held_out():
    return giving_prompts(280, seed=7)


def lens_logits(model, texts):
    """Logits after the last word of each text, of a TransformerLens model that pads on the right."""
    tokens = model.to_tokens(texts)
    last = (tokens != model.tokenizer.pad_token_id).sum(dim=1) - 1
    with torch.inference_mode():
        return model(tokens)[torch.arange(len(texts)), last]


def test_held_out_accuracy(hugging_face, held_out):
    result = evaluate(*hugging_face, held_out)
    assert result.accuracy >= 0.99
    assert result.logit_difference > 3


def test_the_recorded_accuracy_holds(hugging_face):
    recorded = json.loads((FOLDER / "training.json").read_text())
    result = evaluate(*hugging_face, giving_prompts(1000, seed=1))
    assert result.accuracy == pytest.approx(recorded["accuracy"], abs=0.002)
    assert result.logit_difference == pytest.approx(recorded["logit_difference"], rel=1e-4)


def test_the_folder_is_small_and_holds_no_pickles():
    files = list(FOLDER.iterdir())
    assert sum(file.stat().st_size for file in files) <= 2_000_000
    assert {file.suffix for file in files} == {".json", ".safetensors"}


def test_no_parameter_is_at_its_default():
    for name, tensor in load_file(FOLDER / "model.safetensors").items():
        default = 1.0 if ".ln_" in name and name.endswith("weight") else 0.0
        assert (tensor - default).abs().max() > 1e-3, name
        assert tensor.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_are_hugging_faces(kind, hugging_face, held_out):
    texts = [prompt.text for prompt in held_out]
    expected = last_logits(*hugging_face, texts).log_softmax(dim=-1)
    actual = lens_logits(load_or_skip(kind), texts).log_softmax(dim=-1)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_logit_differences_agree(kind, hugging_face, held_out):
    model = load_or_skip(kind)
    texts, rows = [prompt.text for prompt in held_out], torch.arange(len(held_out))
    answers = token_ids(model.tokenizer, [prompt.answer for prompt in held_out])
    incorrect = token_ids(model.tokenizer, [prompt.incorrect for prompt in held_out])
    actual, expected = (
        logits[rows, answers] - logits[rows, incorrect]
        for logits in (lens_logits(model, texts), last_logits(*hugging_face, texts))
    )
    assert ((actual - expected).abs() <= 1e-4 * expected.abs().clamp(min=1.0)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_back_is_ready_to_use(kind):
    model = load_or_skip(kind)
    assert not any(module.training for module in model.modules())
    assert {(p.dtype, p.device.type) for p in model.parameters()} == {(torch.float32, "cpu")}
    assert model.to_str_tokens("When Mary") == ["<s>", "When", "Mary"]
    assert model.to_single_token(" Mary") == model.to_single_token("Mary")
    padded = model.to_tokens(["When Mary and John", "Mary"])
    assert padded[1].tolist() == [1, model.to_single_token("Mary"), 0, 0, 0]
    assert model.to_tokens("Mary", prepend_bos=False).tolist() == [[model.to_single_token("Mary")]]


def test_load_takes_the_demo_model(held_out):
    texts = [prompt.text for prompt in held_out[:5]]
    torch.testing.assert_close(lens_logits(load_small("raw"), texts), lens_logits(load_folder(FOLDER, "raw"), texts))


@pytest.mark.parametrize("kind", ["bridge", "hooked"])
def test_processed_kinds_have_folded_and_centred_weights(kind):
    model = load_or_skip(kind)
    assert model.W_U.mean(dim=-1).abs().max() < 1e-5
    assert all(block.attn.W_O.mean(dim=-1).abs().max() < 1e-5 for block in model.blocks)
    assert all(block.attn.b_V.abs().max() > 0 for block in model.blocks)  # value biases stay in their heads


def test_a_raw_bridge_keeps_the_norms(hugging_face):
    bridge = load_small("raw")
    torch.testing.assert_close(bridge.ln_final.weight, hugging_face[0].transformer.ln_f.weight)


def test_progress_bars_are_left_as_they_were():
    shown = logging.is_progress_bar_enabled()
    load_hugging_face(FOLDER)
    assert logging.is_progress_bar_enabled() == shown


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"kind is 'HookedTransformer'; .* 'hooked', 'bridge', 'raw'"):
        load_small("HookedTransformer")


def test_hooked_names_the_way_out_on_newer_versions():
    if has_hooked_transformer():
        pytest.skip("this TransformerLens has HookedTransformer")
    with pytest.raises(ImportError, match=r'only in TransformerLens 3\.x, and .* use kind "bridge"'):
        load_small("hooked")


def test_hooked_refuses_other_architectures(tmp_path):
    other_architecture(tmp_path, MistralForCausalLM, MistralConfig)
    with pytest.raises(ValueError, match=r'for GPT2LMHeadModel and LlamaForCausalLM only, .* a MistralFor.*"bridge"'):
        load_folder(tmp_path, "hooked")


@pytest.mark.parametrize(
    ("switches", "told"),
    [
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True, "attention_bias": True}, "attention_bias and mlp_bias"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "rope_type 'linear'"),
    ],
)
def test_hooked_refuses_llamas_of_which_something_would_be_lost(switches, told, tmp_path):
    other_architecture(tmp_path, **switches)
    with pytest.raises(ValueError, match=rf'without biases and .* this one has {told}; use kind "bridge" instead'):
        load_folder(tmp_path, "hooked")


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match=r"dtype is torch\.int8; it must be one of torch\.float32, torch\.bfloat16"):
        load_folder(FOLDER, "raw", torch.int8)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_dtype_loads(kind, dtype, tmp_path):
    other_architecture(tmp_path)
    if kind == "hooked" and not has_hooked_transformer():
        pytest.skip("HookedTransformer exists only in TransformerLens 3.x")
    model = load_folder(tmp_path, kind, dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert model.cfg.dtype == dtype
    texts = [prompt.text for prompt in giving_prompts(5)]
    expected = last_logits(*load_hugging_face(tmp_path), texts).log_softmax(dim=-1)
    actual = lens_logits(model, texts).float().log_softmax(dim=-1)
    torch.testing.assert_close(actual, expected, rtol=0, atol=max(1e-4, 8 * torch.finfo(dtype).eps))


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is not a model folder: it has no config\.json.*hub models"):
        load_folder(tmp_path / "gpt2")


def test_pickles_are_refused(tmp_path):
    shutil.copy(FOLDER / "config.json", tmp_path)
    with pytest.raises(ValueError, match=r"no \*\.safetensors file \(it has no weights\)"):
        load_folder(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match=r"it has pytorch_model\.bin.*refused; save the model again"):
        load_folder(tmp_path)


C_FC = "transformer.h.1.mlp.c_fc.weight"


@pytest.mark.parametrize(
    ("tensors", "fields", "told"),
    [
        ({C_FC: None}, {}, f"1 missing .{C_FC}."),
        ({"strange": torch.zeros(3)}, {}, "1 of no part of the model .strange."),
        ({C_FC: torch.zeros(3, 4)}, {}, rf"1 of another shape .{C_FC}, \[3, 4\] and not \[64, 256\]"),
        ({}, {"n_layer": 4}, r"12 missing .transformer.h.3.attn.c_attn.bias, .*, \.\.\.\)"),
        ({}, {"n_layer": 2}, r"1\d of no part of the model .transformer.h.2.attn.c_attn.weight, "),
        ({C_FC: None, "strange": torch.zeros(3)}, {}, "1 missing .*; 1 of no part"),
    ],
)
@pytest.mark.parametrize("load", [load_model, load_folder])
def test_weights_that_are_not_those_of_the_configuration(load, tensors, fields, told, tmp_path):
    folder = shutil.copytree(FOLDER, tmp_path / "model")
    weights = {**load_file(folder / "model.safetensors"), **tensors}
    weights = {name: tensor for name, tensor in weights.items() if tensor is not None}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))
    with pytest.raises(dla.DLAError, match=f"are not those that its config.json asks for: {told}.*save_pretrained"):
        load(str(folder))


def other_architecture(folder, model_class=LlamaForCausalLM, config_class=LlamaConfig, **switches):
    """Writes a tiny random model, a Llama unless told otherwise, with the demo's tokenizer."""
    _, tokenizer = load_hugging_face(FOLDER)
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        **switches,
    )
    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
