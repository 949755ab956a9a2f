"""Each row alone is right: by hand on Hugging Face's modules, by perturbation, and by symmetries of the model."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from by_hand import NAMES as BY_HAND
from by_hand import ByHand
from subjects import GPT2, each_of_a_few, eps_of, needs_hooked_transformer, some_tokens
from torch import Tensor

import dla
import dla.demo
from dla.testing import TinyModel
from dla.testing.assertions import assert_close
from dla.testing.laws.compare import ALLOWED_ROUNDINGS, sum_size
from dla.testing.models import (
    HOOKED,
    HookedArchitecture,
    HuggingFaceArchitecture,
    architecture,
    bridge_of,
    hooked_architecture,
)

TOKEN = 9
each_by_hand = pytest.mark.parametrize("name", BY_HAND)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])


def rows(result: dla.Attribution) -> dict[str, Tensor]:
    return dict(zip(result.labels, result.values, strict=True))


def attribute(model: Any, decomposer: dla.Decomposer, direction: dla.Direction | None = None) -> dla.Attribution:
    return dla.Attributor(model, decomposer).attribute(some_tokens(9), direction or dla.Logit(TOKEN), pos=None)


@each_by_hand
@each_dtype
def test_rows_are_those_worked_out_by_hand(name: str, dtype: torch.dtype) -> None:
    subject = TinyModel(name, dtype=dtype)
    hand = ByHand(name, architecture(name).hugging_face(dtype=dtype), some_tokens(9))
    for decomposer, vectors in (
        (dla.ComponentDecomposer(), hand.components()),
        (dla.HeadDecomposer(), hand.heads()),
        (dla.NeuronDecomposer(), hand.neurons()),
    ):
        result = attribute(subject.model(), decomposer)
        ours, size = rows(result), sum_size(result)
        assert set(vectors) <= set(ours)
        for label, vector in vectors.items():
            assert_close(ours[label], hand.attribution(vector, TOKEN), size, eps_of(subject), label)


@each_by_hand
@each_dtype
def test_a_write_added_again_moves_the_logit_by_its_attribution(name: str, dtype: torch.dtype) -> None:
    """Owes nothing to the library's algebra: the model's own modules compute what a little more of a write does."""
    subject = TinyModel(name, dtype=dtype)
    hand = ByHand(name, architecture(name).hugging_face(dtype=dtype), some_tokens(9))
    unmoved = hand.logits_with(torch.zeros_like(hand.stream))
    single = eps_of(subject) > 1e-10
    for decomposer, vectors in ((dla.ComponentDecomposer(), hand.components()), (dla.HeadDecomposer(), hand.heads())):
        result = attribute(subject.model(), decomposer)
        for label, vector in vectors.items():
            for step in (1.0, -0.5) if single else (1.0, 1e-3):
                moved = (hand.logits_with(step * vector) - unmoved)[..., TOKEN] / step
                size = sum_size(result) + hand.logits.abs().amax(-1)
                # The frozen scale passes the model's own norm, whose input is larger by the write.
                assert_close(rows(result)[label], moved, 8 * size / min(abs(step), 1.0), eps_of(subject), label)


@needs_hooked_transformer
@pytest.mark.parametrize("name", ["ln", "rms", "parallel", "grouped-query-rms-rotary", "attention-only"])
@pytest.mark.parametrize("processed", [False, True], ids=["raw", "processed"])
def test_a_write_added_again_to_a_hooked_transformer(name: str, processed: bool) -> None:
    subject = TinyModel(name, "hooked", processed, torch.float64)
    model, tokens = subject.model(), some_tokens(9)
    own, cache = model.run_with_cache(tokens)
    last = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"

    def moved_by(write: Tensor) -> Tensor:
        hooks = [
            (last, lambda stream, hook: stream + write),
            ("ln_final.hook_scale", lambda scale, hook: cache["ln_final.hook_scale"]),
        ]
        logits: Tensor = model.run_with_hooks(tokens, fwd_hooks=hooks)
        return (logits - own)[..., TOKEN]

    for decomposer in (dla.ComponentDecomposer(), dla.HeadDecomposer()):
        result = attribute(model, decomposer)
        for label, row in rows(result).items():
            vector = _write_of(label, model, cache)
            if vector is not None:
                assert_close(row, moved_by(1e-2 * vector) / 1e-2, 100 * sum_size(result), subject.eps, label)


def _write_of(label: str, model: Any, cache: Any) -> Tensor | None:
    """The vector of a part, from TransformerLens' cache and weights."""
    if label in ("embed", "pos_embed"):
        return cache[f"hook_{label}"]
    if label.endswith("_out"):
        layer, kind = label.split("_", 1)
        return cache[f"blocks.{layer}.hook_{kind}"]
    if label.startswith("L"):
        layer, head = (int(number) for number in label[1:].split("H"))
        return cache[f"blocks.{layer}.attn.hook_z"][:, :, head] @ model.blocks[layer].attn.W_O[head]
    return None


@each_of_a_few
def test_the_stream_is_the_running_sum_of_the_components(subject: TinyModel) -> None:
    components = attribute(subject.model(), dla.ComponentDecomposer())
    layers = attribute(subject.model(), dla.LayerDecomposer())
    running = components.values.cumsum(0)
    after = {str(label): row for label, row in zip(components.parts, running, strict=True)}
    size = sum_size(components)
    has_mid = "0_mid" in layers.labels
    n_layers = 1 + max(part.layer for part in components.parts if part.layer is not None)
    embedding = [label for label in components.labels if "embed" in label][-1]
    expected = {"0_pre": after[embedding]}
    for layer in range(n_layers):
        of_layer = [str(part) for part in components.parts if part.layer == layer]
        if has_mid:
            expected[f"{layer}_mid"] = after[of_layer[0]]
        expected[f"{layer + 1}_pre" if layer + 1 < n_layers else "final_post"] = after[of_layer[-1]]
    assert layers.labels == list(expected)
    for label, row in rows(layers).items():
        assert_close(row, expected[label], size, subject.eps, label)
    assert_close(layers.total, components.total, size, subject.eps)


def test_neurons_of_some_layers_only() -> None:
    result = attribute(GPT2.model(), dla.NeuronDecomposer(layers=[1]))
    assert {part.layer for part in result.parts if part.kind == "neuron"} == {1}
    assert "0_mlp_out" in result.labels
    with pytest.raises(ValueError, match=r"There is no layer 7; the model has layers 0 to 1"):
        dla.Attributor(GPT2.model(), dla.NeuronDecomposer(layers=[7]))


@needs_hooked_transformer
@pytest.mark.parametrize(
    "entry", [e for e in HOOKED if e.processes and "bidirectional" not in e.name], ids=lambda e: e.name
)
def test_processing_the_weights_leaves_differences_alone(entry: HookedArchitecture) -> None:
    difference = dla.LogitDifference(TOKEN, 14)
    raw = attribute(entry.model(), dla.ComponentDecomposer(), difference)
    processed = attribute(entry.model(processed=True), dla.ComponentDecomposer(), difference)
    logits = attribute(entry.model(), dla.ComponentDecomposer())
    # A folded β moves from the constant to the unembedding's bias, which is the constant too.
    assert processed.labels == raw.labels
    for label in raw.labels:
        assert_close(rows(processed)[label], rows(raw)[label], 4 * (sum_size(raw) + sum_size(logits)), 1e-7, label)
    assert_close(processed.constant, raw.constant, 4 * sum_size(logits), 1e-7, "constant")


@needs_hooked_transformer
@pytest.mark.parametrize("name", ["ln", "rms", "parallel"])
def test_folding_without_the_value_biases_leaves_heads_alone(name: str) -> None:
    raw, processed = hooked_architecture(name).model(), hooked_architecture(name).model()
    processed.load_and_process_state_dict(raw.state_dict(), fold_value_biases=False)
    difference = dla.LogitDifference(TOKEN, 14)
    expected, actual = (attribute(model, dla.HeadDecomposer(), difference) for model in (raw, processed))
    for label, row in rows(expected).items():
        assert_close(rows(actual)[label], row, 8 * sum_size(expected), 1e-7, label)


KINDS = ("hooked", "bridge", "raw")


def demo_difference(kind: str, decomposer: dla.Decomposer) -> dla.Attribution:
    return dla.Attributor(dla.demo.load_small(kind), decomposer).attribute(
        ["When Mary and John went to the store , John gave a drink to", "Then Mary and John went to the park , Mary"],
        dla.LogitDifference(" Mary", " John"),
        pos=None if isinstance(decomposer, dla.LayerDecomposer) else -1,
    )


@pytest.mark.parametrize(
    "decomposer",
    [dla.ComponentDecomposer(), dla.HeadDecomposer(), dla.LayerDecomposer()],
    ids=["component", "head", "layer"],
)
@pytest.mark.parametrize("kind", [pytest.param("hooked", marks=needs_hooked_transformer), "bridge"])
def test_model_classes_agree_on_the_same_weights(kind: str, decomposer: dla.Decomposer) -> None:
    expected, actual = demo_difference("raw", decomposer), demo_difference(kind, decomposer)
    assert actual.labels == expected.labels
    size = expected.values.abs().amax(0).nan_to_num(0.0)
    error = (actual.values - expected.values).abs().nan_to_num(0.0)
    assert bool((error <= 1e-4 * size).all())
    assert bool((actual.logit - expected.logit).abs().nan_to_num(0.0).max() <= 1e-4 * size.max())


def test_heads_of_the_raw_model_differ_by_their_value_bias_only() -> None:
    """Compatibility mode folds `(b_V + β W_V) W_O` into `b_O`, β the bias of the norm before attention.

    A raw head holds it in its own row: attention sums to 1, so it is the same for every prompt.
    """
    prompt = "When Mary and John went to the store , John gave a drink to"
    difference = dla.LogitDifference(" Mary", " John")
    model, rewritten = dla.demo.load_small("raw"), dla.demo.load_small("raw")
    rewritten.enable_compatibility_mode()
    raw, folded = (
        dla.Attributor(each, dla.HeadDecomposer()).attribute(prompt, difference) for each in (model, rewritten)
    )
    norm, W_U = model.ln_final, model.unembed.W_U
    ids = [model.to_single_token(name) for name in (" Mary", " John")]
    asked = norm.weight * (W_U[:, ids[0]] - W_U[:, ids[1]])
    asked = asked - asked.mean()
    _, cache = model.run_with_cache(prompt)
    scale = cache["ln_final.hook_scale"][0, -1]
    for label in (label for label in raw.labels if label.startswith("L")):
        layer, head = (int(number) for number in label[1:].split("H"))
        attention, beta = model.blocks[layer].attn, model.blocks[layer].ln1.bias
        bias = (attention.b_V[head] + beta @ attention.W_V[head]) @ attention.W_O[head] @ asked / scale
        expected = rows(folded)[label][0] + bias.detach().squeeze()
        torch.testing.assert_close(rows(raw)[label][0], expected, rtol=0, atol=1e-4 * float(raw.values.abs().max()))


def altered(name: str, change: Callable[[Any], object] = lambda model: None) -> Any:
    """A raw bridge of a Hugging Face model that was changed before it was wrapped."""
    model = architecture(name).hugging_face()
    with torch.no_grad():
        change(model)
    return bridge_of(model)


def test_a_block_that_writes_zero_changes_nothing() -> None:
    """GPT-2 with a block in the middle whose outputs are zero, beside GPT-2 without it."""
    two = architecture("gpt2").hugging_face()
    deeper = transformers.GPT2Config(**{**two.config.to_dict(), "n_layer": 3})
    three = HuggingFaceArchitecture("deeper", lambda: deeper).hugging_face()
    last, inserted = "transformer.h.2.", "transformer.h.1."
    weights = {name.replace(inserted, last): weight for name, weight in two.state_dict().items()}
    for name, weight in three.state_dict().items():
        if name.startswith(inserted):
            weights[name] = torch.zeros_like(weight) if ".c_proj." in name else weight
    three.load_state_dict(weights)
    long, short = (attribute(bridge_of(model), dla.HeadDecomposer()) for model in (three, two))
    for part, row in zip(long.parts, long.values, strict=True):
        if part.layer == 1:
            assert bool((row == 0).all())
        else:
            label = str(part).replace("L2H", "L1H").replace("2_", "1_")
            torch.testing.assert_close(row, rows(short)[label])


def test_permuted_heads_permute_their_rows() -> None:
    order = [2, 0, 3, 1]

    def permute(model: Any) -> None:
        for block in model.transformer.h:
            columns = torch.cat([torch.arange(8) + 8 * head for head in order])
            three = torch.cat([columns + 32 * i for i in range(3)])
            block.attn.c_attn.weight.copy_(block.attn.c_attn.weight[:, three].clone())
            block.attn.c_attn.bias.copy_(block.attn.c_attn.bias[three].clone())
            block.attn.c_proj.weight.copy_(block.attn.c_proj.weight[columns].clone())

    before = rows(attribute(altered("gpt2"), dla.HeadDecomposer()))
    after = rows(attribute(altered("gpt2", permute), dla.HeadDecomposer()))
    for layer in range(2):
        for new, old in enumerate(order):
            torch.testing.assert_close(after[f"L{layer}H{new}"], before[f"L{layer}H{old}"], rtol=1e-4, atol=1e-5)
    assert (before["L0H0"] - before["L0H1"]).abs().max() > 1e-3


def test_a_constant_on_every_coordinate_is_nothing_to_layer_norm_and_something_to_rms_norm() -> None:
    def shift(path: str) -> Callable[[Any], object]:
        return lambda model: model.get_submodule(path).bias.add_(0.7)

    for name, path, seen in (
        ("gpt2", "transformer.h.1.mlp.c_proj", False),
        ("llama-biases", "model.layers.1.mlp.down_proj", True),
    ):
        before = attribute(altered(name), dla.ComponentDecomposer())
        after = attribute(altered(name, shift(path)), dla.ComponentDecomposer())
        changed = (rows(after)["1_mlp_out"] - rows(before)["1_mlp_out"]).abs().max()
        assert bool(changed > 1e-2) == seen
        assert bool(changed < ALLOWED_ROUNDINGS * 1e-6) != seen


def test_grouped_queries_are_their_multi_head_expansion() -> None:
    grouped = architecture("llama").hugging_face()
    config = transformers.LlamaConfig(**{**grouped.config.to_dict(), "num_key_value_heads": 4})
    expanded = HuggingFaceArchitecture("expanded", lambda: config).hugging_face()
    weights = grouped.state_dict()
    for name in weights:
        if "k_proj" in name or "v_proj" in name:
            weights[name] = weights[name].unflatten(0, (2, 8)).repeat_interleave(2, 0).flatten(0, 1)
    expanded.load_state_dict(weights)
    left, right = (attribute(bridge_of(model), dla.HeadDecomposer()) for model in (grouped, expanded))
    assert left.labels == right.labels
    torch.testing.assert_close(left.values, right.values, rtol=1e-4, atol=1e-5)
