"""Every deliberate mistake is caught: by the check that users have, or by a law of this suite."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import twins
from assertions import assert_contract_is_vectors
from by_hand import ByHand
from subjects import GPT2, LLAMA, Subject, needs_hooked_transformer, some_tokens
from torch import Tensor
from twins import AlteredAdapter, AlteredDecomposer, AlteredDirection, Disagreeing
from write_samples import OTHER_SCALE, ROUTES, Shape, sample

import dla
from dla.testing import assert_reconstructs
from dla.testing.models import architecture

Plan = Callable[[list[dla.Write], dla.ModelAdapter], Any]
GRANITE, OLMO2, GPTJ = (Subject("bridge", name) for name in ("granite-biases", "olmo2", "gptj"))
HOOKED_LN, HOOKED_RMS = Subject("hooked", "ln"), Subject("hooked", "rms")
POST_NORM = Subject("hooked", "norm-after-rms")


def attribute(
    model: Any, decomposer: dla.Decomposer, direction: dla.Direction | None = None, **options: Any
) -> dla.Attribution:
    attributor = dla.Attributor(model, decomposer, **options)
    return attributor.attribute(some_tokens(11), direction or dla.Logit(9), pos=None)


def skip_without_hooked_transformer(subject: Subject) -> Any:
    return [needs_hooked_transformer] if subject.family == "hooked" else []


def cases(*mistakes: tuple[Any, ...]) -> list[Any]:
    """For each `(name, subjects, values...)` a parameter for each subject."""
    return [
        pytest.param(subject, *values, id=f"{name}-{subject}", marks=skip_without_hooked_transformer(subject))
        for name, subjects, *values in mistakes
        for subject in subjects
    ]


def routed(**changes: Any) -> Any:
    """The same mistake about the way from the heads to the stream."""
    return twins.with_heads(lambda heads: replace(heads, route=replace(heads.route, **changes)))


ALL_NORMS = (GPT2, LLAMA, HOOKED_LN, HOOKED_RMS)
WITH_BIASES = (GPT2, HOOKED_LN)
UNBIASED = twins.rescaled(lambda scale: scale * (32 / 31) ** 0.5)
ELSEWHERE = twins.rescaled(lambda scale: scale[:, :1].expand_as(scale))

ADAPTERS = cases(
    ("no-gamma", ALL_NORMS, twins.with_norm(lambda norm: {"weight": None})),
    ("no-beta", WITH_BIASES, twins.with_norm(lambda norm: {"bias": None})),
    ("the-other-norm", ALL_NORMS, twins.with_norm(lambda norm: {"centred": not norm.centred})),
    ("one-plus-gamma", (LLAMA, HOOKED_RMS), twins.with_norm(lambda norm: {"weight": 1 + norm.weight})),
    ("unbiased-variance", WITH_BIASES, twins.with_norm(UNBIASED)),
    ("the-first-positions-scale", (GPT2, HOOKED_RMS), twins.with_norm(ELSEWHERE)),
    ("no-b_U", (GPTJ, HOOKED_LN), twins.with_readout(b_U=None)),
    ("a-multiplier", ALL_NORMS, twins.with_readout(multiplier=1.01)),
    ("shifted-columns", ALL_NORMS, twins.with_shifted_columns),
    ("heads-in-reverse", ALL_NORMS, twins.with_heads(lambda heads: replace(heads, W_O=heads.W_O.flip(0)))),
    ("no-b_O", WITH_BIASES, twins.with_heads(lambda heads: replace(heads, b_O=None))),
    ("no-residual-multiplier", (GRANITE,), routed(multiplier=1.0)),
    ("no-post-norm", (OLMO2, POST_NORM), routed(norm=None)),
    ("a-block-less", ALL_NORMS, lambda anatomy: replace(anatomy, blocks=anatomy.blocks[:-1])),
    ("no-embedding", ALL_NORMS, lambda anatomy: replace(anatomy, embeddings=anatomy.embeddings[1:])),
)


@pytest.mark.parametrize(("subject", "mistake"), ADAPTERS)
def test_an_adapter_that_is_wrong_about_its_model_is_caught(subject: Subject, mistake: Any) -> None:
    adapter = AlteredAdapter(subject.model(), mistake)
    with pytest.raises(dla.ReconstructionError, match=r"parts of HeadDecomposer miss the model's logit by"):
        attribute(adapter, dla.HeadDecomposer())


@pytest.mark.parametrize(
    ("name", "show"),
    [
        ("previous-position", lambda name, x: x.roll(1, dims=1) if name.endswith("hook_z") else x),
        ("previous-prompt", lambda name, x: x.roll(1, dims=0) if name.endswith("hook_mlp_out") else x),
        ("rounded", lambda name, x: x.bfloat16().float() if name.endswith("hook_z") else x),
        ("other-scale", lambda name, x: x * 1.001 if name == "ln_final.hook_scale" else x),
        ("other-logits", lambda name, x: x + 1e-3 if name == "unembed.hook_out" else x),
    ],
)
def test_an_adapter_that_shows_other_activations_is_caught(name: str, show: Any) -> None:
    adapter = AlteredAdapter(GPT2.model(), show=show)
    with pytest.raises(dla.ReconstructionError, match=r"allowed: \d\.\de-0[4-9]"):
        attribute(adapter, dla.HeadDecomposer())


@pytest.mark.parametrize("subject", cases(("right", (*ALL_NORMS, GRANITE, OLMO2, GPTJ, POST_NORM))))
def test_twins_without_a_mistake_pass(subject: Subject) -> None:
    adapter = AlteredAdapter(subject.model())
    for decomposer in (dla.HeadDecomposer(), dla.ComponentDecomposer(), dla.LayerDecomposer()):
        attribute(
            adapter, AlteredDecomposer(decomposer, lambda plan, _: plan), AlteredDirection(dla.Logit(9), lambda r: r)
        )


HEADS, COMPONENTS, LAYERS = dla.HeadDecomposer(), dla.ComponentDecomposer(), dla.LayerDecomposer()
NEURONS, BLOCKS = dla.NeuronDecomposer(), dla.BlockDecomposer()
UNROUTED = twins.rerouted(lambda route: dla.Route())

DECOMPOSERS = cases(
    ("no-b_O", WITH_BIASES, HEADS, twins.without("b_O")),
    ("no-b_O-in-one-block", WITH_BIASES, HEADS, twins.without("b_O", 1)),
    ("no-heads", (GPT2, LLAMA), HEADS, twins.without("head", 0)),
    ("no-mlp", ALL_NORMS, HEADS, twins.without("mlp_out", 1)),
    ("no-route", (OLMO2, GRANITE, POST_NORM), HEADS, UNROUTED),
    ("no-pos_embed", WITH_BIASES, COMPONENTS, twins.without("pos_embed")),
    ("no-embed", ALL_NORMS, COMPONENTS, twins.without("embed")),
    ("no-attention", ALL_NORMS, COMPONENTS, twins.without("attn_out", 1)),
    ("one-twice", ALL_NORMS, COMPONENTS, lambda plan, _: [*plan, replace(plan[-1], label=dla.Label("again"))]),
    ("only-the-first", (GPT2,), COMPONENTS, lambda plan, _: plan[:1]),
    ("no-last-row", ALL_NORMS, LAYERS, lambda plan, _: plan[:-1]),
    ("rows-in-reverse", ALL_NORMS, LAYERS, lambda plan, _: plan[::-1]),
    ("no-b_out", WITH_BIASES, NEURONS, twins.without("b_out")),
    ("no-neurons", (GPT2, LLAMA), NEURONS, twins.without("neuron", 1)),
    ("no-block", (GPT2, LLAMA), BLOCKS, twins.without("block", 1)),
)


@pytest.mark.parametrize(("subject", "original", "mistake"), DECOMPOSERS)
def test_a_decomposer_that_forgets_a_part_is_caught(subject: Subject, original: dla.Decomposer, mistake: Plan) -> None:
    with pytest.raises(dla.ReconstructionError, match=r"parts of AlteredDecomposer miss .*attributor\.explain_gap"):
        attribute(subject.model(), AlteredDecomposer(original, mistake))


def assert_rows_by_hand(result: dla.Attribution) -> None:
    hand = ByHand("gpt2", architecture("gpt2").hugging_face(), some_tokens(11))
    rows = dict(zip(result.labels, result.values, strict=True))
    for label, vector in hand.heads().items():
        torch.testing.assert_close(rows[label], hand.attribution(vector, 9), rtol=1e-4, atol=1e-4)


def test_swapped_labels_add_up_and_only_independent_rows_show_them() -> None:
    def swap(plan: list[dla.Write], _: dla.ModelAdapter) -> list[dla.Write]:
        return [replace(w, parts=list(w.parts)[::-1]) if isinstance(w, dla.HeadWrites) else w for w in plan]

    assert_rows_by_hand(attribute(GPT2.model(), HEADS))
    result = attribute(GPT2.model(), AlteredDecomposer(HEADS, swap))
    with pytest.raises(AssertionError, match="not close"):
        assert_rows_by_hand(result)


def test_a_rest_by_subtraction_blinds_the_sum_and_only_independent_rows_show_it() -> None:
    """Why no part of the library is defined as what the others leave: here every head is doubled, and it adds up."""
    result = attribute(GPT2.model(), AlteredDecomposer(HEADS, twins.with_rest))
    assert bool((result.gap.abs() <= result.tolerance).all())
    with pytest.raises(AssertionError, match="not close"):
        assert_rows_by_hand(result)


def test_a_rest_by_subtraction_hides_a_write_that_contradicts_itself_from_the_sum() -> None:
    write, activations, generator = sample("factored", "direct", Shape(), 5)
    assert isinstance(write, dla.HeadWrites)
    wrong = Disagreeing(replace(write, weight=2.0 * write.weight), write)
    stream = dla.FullOutput(dla.Site("stream"), dla.Label("post", 0))
    activations = {**activations, stream.site: torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)}
    direction = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    plan = (wrong, twins.Rest(stream, (wrong,)))
    total = sum(w.contract(activations, direction).sum(-3) for w in plan)
    torch.testing.assert_close(total, stream.contract(activations, direction)[0])
    with pytest.raises(AssertionError, match="contracted values are off"):
        assert_contract_is_vectors(wrong, activations, direction)


def changed(write: dla.Write, **changes: Any) -> dla.Write:
    if isinstance(write, dla.SumOf):
        return replace(write, writes=[changed(part, **changes) for part in write.writes])
    return replace(write, **changes)


def with_norm(write: Any, **changes: Any) -> dict[str, Any]:
    return {"route": replace(write.route, norm=replace(write.route.norm, **changes))}


WRITES = {
    "forgets the multiplier": ("multiplied", lambda w: {"route": replace(w.route, multiplier=1.0)}),
    "forgets the norm": ("layer-norm", lambda w: {"route": replace(w.route, norm=None)}),
    "does not centre": ("layer-norm", lambda w: with_norm(w, centred=False)),
    "centres": ("rms-norm", lambda w: with_norm(w, centred=True)),
    "drops the norm's weight": ("rms-norm", lambda w: with_norm(w, weight=None)),
    "takes another scale": ("norm-without-weight", lambda w: with_norm(w, scale=OTHER_SCALE)),
}


@pytest.mark.parametrize("mistake", WRITES)
@pytest.mark.parametrize("kind", ["whole", "change", "factored", "scaled", "constant"])
def test_a_write_that_contracts_other_vectors_than_it_shows_is_caught(kind: str, mistake: str) -> None:
    route, change = WRITES[mistake]
    assert route in ROUTES
    write, activations, generator = sample(kind, route, Shape(), 7)
    direction = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    assert_contract_is_vectors(write, activations, direction)
    for left, right in ((write, changed(write, **change(write))), (changed(write, **change(write)), write)):
        with pytest.raises(AssertionError, match="contracted values are off"):
            assert_contract_is_vectors(Disagreeing(left, right), activations, direction)


def test_a_write_that_reads_more_than_it_says_is_caught() -> None:
    write, activations, generator = sample("whole", "layer-norm", Shape(), 7)
    direction = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    with pytest.raises(KeyError, match="scale"):
        assert_contract_is_vectors(twins.Secretive(write), activations, direction)


DIRECTIONS: dict[str, tuple[dla.Direction, Any, Callable[[Tensor], Tensor]]] = {
    "sign": (dla.Logit(9), twins.negated, lambda own: own[..., 9]),
    "the next id": (dla.Logit(9), twins.shifted_ids, lambda own: own[..., 9]),
    "sum for a difference": (dla.LogitDifference(9, 14), twins.summed, lambda own: own[..., 9] - own[..., 14]),
    "swapped difference": (dla.LogitDifference(9, 14), twins.negated, lambda own: own[..., 9] - own[..., 14]),
    "half a difference": (dla.LogitDifference(9, 14), twins.first_term_only, lambda own: own[..., 9] - own[..., 14]),
    "sum for a mean": (dla.LogitSet([9, 14]), twins.summed, lambda own: own[..., [9, 14]].mean(-1)),
    "another prompt's token": (
        dla.Logit(torch.tensor([9, 14])),
        twins.swapped_prompts,
        lambda own: torch.stack([own[0, :, 9], own[1, :, 14]]),
    ),
}


@pytest.mark.parametrize("mistake", DIRECTIONS)
def test_a_direction_that_asks_something_else_is_caught_by_the_models_own_logits(mistake: str) -> None:
    """Such a direction adds up: it answers another question. Only what the user meant to ask can show it."""
    direction, alter, meant = DIRECTIONS[mistake]
    own = meant(GPT2.logits(some_tokens(11)))
    assert_reconstructs(attribute(GPT2.model(), HEADS, direction), own, eps=GPT2.eps)
    wrong = attribute(GPT2.model(), HEADS, AlteredDirection(direction, alter))
    with pytest.raises(AssertionError, match="measured logit is not the model's own"):
        assert_reconstructs(wrong, own, eps=GPT2.eps)
