"""A folder holds the numbers of one model as it computes: weights, hooks, settings and tokenizer."""

import dataclasses

import numpy as np
import pytest
import torch
from sweep_subjects import Altered, Interrupted, assert_same, by_heads, frame, stop

import dla
import dla.demo
from dla.adapters.fingerprints import settings_of, tokenizer_fingerprint


def bridge():
    """In compatibility mode a bridge may run under hooks."""
    return dla.demo.load_small("bridge")


def scaled(by):
    return lambda z, hook: by * z


def single_position(z, hook):
    """Acts on long prompts alone."""
    if z.shape[1] > 17:
        z[:, 17] = 0
    return z


def other_norm(model):
    model.ln_final._original_component.eps = 1.1e-5


def other_activation(model):
    model.blocks[1].mlp.act = torch.nn.GELU()
    model.blocks[1].mlp._original_component.act = torch.nn.GELU()


def other_scale(model):
    for module in (model.blocks[1].attn, model.blocks[1].attn._original_component):
        if hasattr(module, "scaling"):
            module.scaling = 2 * module.scaling


def begin(by, corpus, out):
    """A sweep that is stopped after its first shard."""
    with pytest.raises(OSError, match="stopped"):
        dla.sweep(corpus, by, out, window=4, engine=Interrupted(stop, after=1))
    assert not dla.open_sweep(out).complete


def test_what_a_hook_adds_to_the_stream_is_a_row_of_a_sweep_too(tmp_path):
    """The same rows as one attribution a prompt, under the same hook; nothing is rejected."""
    model = bridge()
    wave = torch.sin(torch.arange(float(model.cfg.d_model)))
    corpus, attributor = frame(3), by_heads(model)
    with model.hooks(fwd_hooks=[("blocks.1.hook_resid_pre", lambda stream, hook: stream + wave)]):
        folder = dla.sweep(corpus, attributor, tmp_path / "out", progress=False)
        rows = folder.to_dataframe()
        for i, row in enumerate(corpus.to_dict("records")):
            alone = attributor.attribute(row["prompt"], dla.LogitDifference(row["answer"], row["incorrect"]))
            np.testing.assert_allclose(rows[rows.row == i].value, alone.values[:, 0], atol=1e-5)
    assert len(folder.rejected()) == 0
    assert folder.labels == alone.labels
    assert "edit blocks.1.hook_resid_pre" in folder.labels


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("hooked", ["before", "after"])
def test_a_hook_makes_another_sweep(tmp_path, complete, hooked):
    model, corpus = bridge(), frame(9)
    hooks = [("blocks.1.attn.hook_z", scaled(0.5))]
    contexts = [model.hooks(fwd_hooks=hooks), model.hooks(fwd_hooks=[])]
    for i, context in enumerate(contexts if hooked == "before" else contexts[::-1]):
        with context:
            if i:
                with pytest.raises(ValueError, match="the model computes other numbers .* hooks on it, or something"):
                    dla.sweep(corpus, by_heads(model), tmp_path, window=4)
            elif complete:
                dla.sweep(corpus, by_heads(model), tmp_path, window=4)
            else:
                begin(by_heads(model), corpus, tmp_path)


def test_a_sweep_under_the_same_hook_is_resumed(tmp_path):
    model, corpus = bridge(), frame(9)
    with model.hooks(fwd_hooks=[("blocks.1.attn.hook_z", scaled(0.5))]):
        whole = dla.sweep(corpus, by_heads(model), tmp_path / "whole", window=4)
        begin(by_heads(model), corpus, tmp_path / "halves")
    with model.hooks(fwd_hooks=[("blocks.1.attn.hook_z", scaled(0.5))]):
        assert_same(dla.sweep(corpus, by_heads(model), tmp_path / "halves", window=4), whole)


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("blocks.0.attn.hook_z", scaled(1.001)),
        ("blocks.2.mlp.hook_post", scaled(1.001)),
        ("blocks.1.attn.hook_z", single_position),
    ],
    ids=["slight", "in an MLP", "on long prompts"],
)
def test_slight_hooks_are_seen(tmp_path, name, hook):
    model, corpus = bridge(), frame(9)
    corpus.loc[4, "prompt"] = "Then , " + corpus.loc[4, "prompt"] + " " + corpus.loc[5, "prompt"]
    corpus.loc[4, "prompt"] = " ".join(corpus.loc[4, "prompt"].split()[:28])
    dla.sweep(corpus, by_heads(model), tmp_path)
    with (
        model.hooks(fwd_hooks=[(name, hook)]),
        pytest.raises(ValueError, match="the model computes other numbers"),
    ):
        dla.sweep(corpus, by_heads(model), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_norm, "the model's ln_final.eps is 1e-05 there and 1.1e-05 here"),
        (other_activation, "the model's blocks.1.*mlp.act is NewGELUActivation there and GELU here"),
    ],
)
@pytest.mark.filterwarnings("ignore::dla.ModelMismatchWarning")
def test_settings_that_are_no_weights(tmp_path, change, message):
    dla.sweep(frame(3), by_heads(bridge()), tmp_path)
    model = bridge()
    change(model)
    with pytest.raises(ValueError, match=f"holds a sweep of something else: {message}. Pass another folder"):
        dla.sweep(frame(3), by_heads(model), tmp_path)


def only_batches(z, hook):
    """Does nothing to a prompt by itself, as the samples are run."""
    return 0.5 * z if len(z) > 1 else z


def only_large_batches(z, hook):
    return 0.5 * z if len(z) > 2 else z


def test_a_hook_that_does_nothing_to_the_samples(tmp_path):
    model, corpus, place = bridge(), frame(9), "blocks.1.attn.hook_z"
    with model.hooks(fwd_hooks=[(place, only_batches)]):
        begin(by_heads(model), corpus, tmp_path)
    for hook, here in (([], "none"), ([(place, only_large_batches)], ".*only_large_batches .*")):
        with (
            model.hooks(fwd_hooks=hook),
            pytest.raises(ValueError, match=f"the model's hooks differ .{place}: .*only_batches .* and {here} here"),
        ):
            dla.sweep(corpus, by_heads(model), tmp_path, window=4)
    with model.hooks(fwd_hooks=[(place, only_batches)]):
        assert dla.sweep(corpus, by_heads(model), tmp_path, window=4).complete


def test_the_configuration_is_a_setting(tmp_path):
    model, other = (dla.demo.load_small("raw") for _ in range(2))
    dla.sweep(frame(3), by_heads(model), tmp_path)
    other.original_model.config.sliding_window = 16
    assert dla.sweep(frame(3), by_heads(other), tmp_path).complete  # a field that only another version has
    other.original_model.config.scale_attn_by_inverse_layer_idx = True
    with pytest.raises(ValueError, match="the model's config.scale_attn_by_inverse_layer_idx is false there and true"):
        dla.sweep(frame(3), by_heads(other), tmp_path)


def test_another_tokenizer(heads, tmp_path, monkeypatch):
    dla.sweep(frame(3), heads, tmp_path)
    model = dla.demo.load_small("raw")
    vocabulary = model.tokenizer.get_vocab()
    a, b = vocabulary["Mary"], vocabulary["John"]
    monkeypatch.setattr(
        type(model.tokenizer), "get_vocab", lambda self: {**vocabulary, "Mary": b, "John": a}, raising=True
    )
    with pytest.raises(ValueError, match="the model's tokenizer differs, or whether it puts a BOS token first"):
        dla.sweep(frame(3), by_heads(model), tmp_path)


def test_another_default_of_the_bos_token(heads, tmp_path):
    dla.sweep(frame(3), heads, tmp_path)
    model = dla.demo.load_small("raw")
    model.cfg.default_prepend_bos = False
    with pytest.raises(ValueError, match="tokenizer differs, or whether it puts a BOS token first"):
        dla.sweep(frame(3), by_heads(model), tmp_path)


def rounded(model, tokens, observe, rows):
    """As on another device: every activation off by some rounding units."""
    generator = torch.Generator().manual_seed(int(tokens.sum()))

    def noisy(observer):
        def see(x):
            noise = torch.rand(x.shape, generator=generator) if x.is_floating_point() else 0
            observer(x + 4e-7 * x.abs() * noise if x.is_floating_point() else x)

        return see

    return model.run(tokens, {name: noisy(observer) for name, observer in observe.items()}, rows)


def test_rounding_is_no_other_model(tmp_path):
    dla.sweep(frame(6), by_heads(Altered()), tmp_path)
    assert dla.sweep(frame(6), by_heads(Altered(rounded)), tmp_path).complete


def test_another_number_of_threads_is_no_other_model(heads, tmp_path):
    before = torch.get_num_threads()
    dla.sweep(frame(20), heads, tmp_path)
    torch.set_num_threads(1 if before > 1 else 2)
    try:
        assert dla.sweep(frame(20), heads, tmp_path).complete
    finally:
        torch.set_num_threads(before)


def test_an_adapter_of_a_users_own_is_known_by_what_it_computes(tmp_path):
    def shifted(model, tokens, observe, rows):
        return model.run(tokens.flip(1), observe, rows)

    plain = Altered()
    dla.sweep(frame(3), by_heads(plain), tmp_path)
    with pytest.raises(ValueError, match="the model computes other numbers"):
        dla.sweep(frame(3), by_heads(Altered(shifted)), tmp_path)
    assert settings_of(plain) == {}
    swapped = dataclasses.replace(plain.vocabulary, decode=lambda token: str(token))
    assert tokenizer_fingerprint(plain) == tokenizer_fingerprint(Altered())
    plain.words = swapped
    assert tokenizer_fingerprint(plain) != tokenizer_fingerprint(Altered())


def test_numbers_that_are_none_are_not_compared(tmp_path):
    def spoilt(model, tokens, observe, rows):
        if tokens.shape[1] > 12:
            raise ValueError("too long for this model")
        return model.run(tokens, observe, rows)

    corpus = frame(3, prompt={1: "When Mary and"})
    with pytest.warns(dla.SweepWarning, match="2 × too long for this model"):
        dla.sweep(corpus, by_heads(Altered(spoilt)), tmp_path)
    numbers = dla.open_sweep(tmp_path).manifest["model"]["numbers"]
    assert numbers[0] is None
    with pytest.warns(dla.SweepWarning, match="too long"):
        assert dla.sweep(corpus, by_heads(Altered(spoilt)), tmp_path).complete


def test_the_manifest_holds_the_model_s_own_logits(heads, tmp_path):
    told = dla.sweep(frame(3), heads, tmp_path).manifest["model"]
    for (ids, answer, incorrect), (first, _) in zip(told["samples"], told["numbers"], strict=True):
        with torch.no_grad():
            logits = heads.model.source(torch.tensor([ids]))[0, -1]
        expected = logits[answer] - (0 if incorrect is None else logits[incorrect])
        np.testing.assert_allclose(first["numbers"][0], float(expected), atol=1e-4)
