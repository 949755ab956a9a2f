"""A mistake about the model, or in a plan, is caught by the check that every attribution makes, if the sum shows it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from mutants.altered import (
    AlteredDecomposer,
    AlteredDirection,
    each_of_heads,
    with_heads,
    with_norm,
    with_readout,
    with_scale,
    without,
)
from mutants.catalogue import DECOMPOSERS as MUTANTS
from mutants.catalogue import Mutant
from subjects import GPT2, HOOKED_LN, LLAMA, needs_hooked_transformer, some_tokens
from torch import Tensor

import dla
from dla.testing import AlteredAdapter, TinyModel
from dla.testing.subjects import as_subject

HEADS, COMPONENTS, LAYERS = dla.HeadDecomposer(), dla.ComponentDecomposer(), dla.LayerDecomposer()
NEURONS, BLOCKS = dla.NeuronDecomposer(), dla.BlockDecomposer()
GRANITE, OLMO2, GPTJ = (TinyModel(name) for name in ("granite-biases", "olmo2", "gptj"))
HOOKED_RMS, POST_NORM = TinyModel("rms", "hooked"), TinyModel("norm-after-rms", "hooked")
ALL_NORMS, WITH_BIASES = (GPT2, LLAMA, HOOKED_LN, HOOKED_RMS), (GPT2, HOOKED_LN)


def attribute(model: Any, decomposer: dla.Decomposer, direction: dla.Direction | None = None) -> dla.Attribution:
    return dla.Attributor(model, decomposer).attribute(some_tokens(11), direction or dla.Logit(9), pos=None)


def cases(*mistakes: tuple[Any, ...]) -> list[Any]:
    """For each `(name, subjects, values...)` a parameter for each subject."""
    return [
        pytest.param(
            subject,
            *values,
            id=f"{name}-{subject}",
            marks=[needs_hooked_transformer] if subject.family == "hooked" else [],
        )
        for name, subjects, *values in mistakes
        for subject in subjects
    ]


def routed(**changes: Any) -> Any:
    """The same mistake about the way from the heads to the stream."""
    return with_heads(lambda heads: replace(heads, route=replace(heads.route, **changes)))


def shifted(unembedding: Any) -> Tensor:
    """Reads each token off its neighbour's column."""
    return unembedding.W_U.roll(1, dims=-1)


ADAPTERS = cases(
    ("no-gamma", ALL_NORMS, with_norm(lambda norm: replace(norm, weight=None))),
    ("no-beta", WITH_BIASES, with_norm(lambda norm: replace(norm, bias=None))),
    ("the-other-norm", ALL_NORMS, with_norm(lambda norm: replace(norm, centred=not norm.centred))),
    ("one-plus-gamma", (LLAMA, HOOKED_RMS), with_norm(lambda norm: replace(norm, weight=1 + norm.weight))),
    ("unbiased-variance", WITH_BIASES, with_scale(lambda scale: scale * (32 / 31) ** 0.5)),
    ("the-first-positions-scale", (GPT2, HOOKED_RMS), with_scale(lambda scale: scale[:, :1].expand_as(scale))),
    ("no-b_U", (GPTJ, HOOKED_LN), with_readout(b_U=None)),
    ("a-multiplier", ALL_NORMS, with_readout(multiplier=1.01)),
    ("shifted-columns", ALL_NORMS, lambda anatomy: with_readout(W_U=shifted(anatomy.unembedding))(anatomy)),
    ("heads-in-reverse", ALL_NORMS, with_heads(lambda heads: replace(heads, W_O=heads.W_O.flip(0)))),
    ("no-b_O", WITH_BIASES, with_heads(lambda heads: replace(heads, b_O=None))),
    ("no-residual-multiplier", (GRANITE,), routed(multiplier=1.0)),
    ("no-post-norm", (OLMO2, POST_NORM), routed(norm=None)),
    ("a-block-less", ALL_NORMS, lambda anatomy: replace(anatomy, blocks=anatomy.blocks[:-1])),
    ("no-embedding", ALL_NORMS, lambda anatomy: replace(anatomy, embeddings=anatomy.embeddings[1:])),
)


@pytest.mark.parametrize(("subject", "mistake"), ADAPTERS)
def test_an_adapter_that_is_wrong_about_its_model_is_caught(subject: TinyModel, mistake: Any) -> None:
    with pytest.raises(dla.ReconstructionError, match=r"parts of HeadDecomposer miss the model's logit by"):
        attribute(AlteredAdapter(subject.model(), mistake), HEADS)


SHOWN: dict[str, Callable[[str, Tensor], Tensor]] = {
    "previous position": lambda name, x: x.roll(1, dims=1) if name.endswith("hook_z") else x,
    "previous prompt": lambda name, x: x.roll(1, dims=0) if name.endswith("hook_mlp_out") else x,
    "rounded": lambda name, x: x.bfloat16().float() if name.endswith("hook_z") else x,
    "other scale": lambda name, x: x * 1.001 if name == "ln_final.hook_scale" else x,
    "other logits": lambda name, x: x + 1e-3 if name == "unembed.hook_out" else x,
}


@pytest.mark.parametrize("show", SHOWN)
def test_an_adapter_that_shows_other_activations_is_caught(show: str) -> None:
    with pytest.raises(dla.ReconstructionError, match=r"allowed: \d\.\de-0[4-9]"):
        attribute(AlteredAdapter(GPT2.model(), show=SHOWN[show]), HEADS)


@pytest.mark.parametrize("subject", cases(("right", (*ALL_NORMS, GRANITE, OLMO2, GPTJ, POST_NORM))))
def test_twins_without_a_mistake_pass(subject: TinyModel) -> None:
    for decomposer in (HEADS, COMPONENTS, LAYERS):
        twin = AlteredDecomposer(decomposer, lambda plan, _: plan)
        attribute(AlteredAdapter(subject.model()), twin, AlteredDirection(dla.Logit(9), lambda resolved: resolved))


PLANS = cases(
    ("no-b_O", WITH_BIASES, HEADS, without("b_O")),
    ("no-b_O-in-one-block", WITH_BIASES, HEADS, without("b_O", 1)),
    ("no-heads", (GPT2, LLAMA), HEADS, without("head", 0)),
    ("no-mlp", ALL_NORMS, HEADS, without("mlp_out", 1)),
    ("no-route", (OLMO2, GRANITE, POST_NORM), HEADS, each_of_heads(lambda write: replace(write, route=dla.Route()))),
    ("no-pos_embed", WITH_BIASES, COMPONENTS, without("pos_embed")),
    ("no-embed", ALL_NORMS, COMPONENTS, without("embed")),
    ("no-attention", ALL_NORMS, COMPONENTS, without("attn_out", 1)),
    ("one-twice", ALL_NORMS, COMPONENTS, lambda plan, _: [*plan, replace(plan[-1], label=dla.Label("again"))]),
    ("only-the-first", (GPT2,), COMPONENTS, lambda plan, _: plan[:1]),
    ("no-last-row", ALL_NORMS, LAYERS, lambda plan, _: plan[:-1]),
    ("rows-in-reverse", ALL_NORMS, LAYERS, lambda plan, _: plan[::-1]),
    ("no-b_out", WITH_BIASES, NEURONS, without("b_out")),
    ("no-neurons", (GPT2, LLAMA), NEURONS, without("neuron", 1)),
    ("no-block", (GPT2, LLAMA), BLOCKS, without("block", 1)),
)


@pytest.mark.parametrize(("subject", "original", "mistake"), PLANS)
def test_a_decomposer_that_forgets_a_part_is_caught(subject: TinyModel, original: dla.Decomposer, mistake: Any) -> None:
    with pytest.raises(dla.ReconstructionError, match=r"parts of AlteredDecomposer miss .*attributor\.explain_gap"):
        attribute(subject.model(), AlteredDecomposer(original, mistake))


@pytest.mark.parametrize(
    "mutant", [each for each in MUTANTS if each.check in ("names", "measured")], ids=lambda mutant: mutant.name
)
def test_rows_that_are_wrong_and_add_up_are_seen_by_the_laws_only(mutant: Mutant) -> None:
    """Why no part of the library is defined as what the others leave: heads that are doubled add up as well."""
    result = attribute(as_subject(mutant.models[0]).model(), mutant.of)
    assert bool((result.gap.abs() <= result.tolerance).all())
