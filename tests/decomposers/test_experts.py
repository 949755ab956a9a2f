"""Experts of mixtures, against routers and experts that were run by hand on the weights of Hugging Face's models."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from subjects import params, some_tokens
from torch import Tensor
from torch.nn.functional import linear, silu, softmax

import dla
from dla.testing import TinyModel
from dla.testing.assertions import assert_close
from dla.testing.laws.compare import sum_size
from dla.testing.models import architecture
from dla.writes import ExpertWrites

MIXTURES = [
    *(TinyModel(name) for name in ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "gpt_oss", "granitemoe")),
    *(TinyModel(name) for name in ("deepseek_v2", "deepseek_v3", "deepseek_v3-bias", "ernie4_5_moe")),
    *(TinyModel(name, "hooked") for name in ("experts", "experts-rms-rotary", "experts-normalised")),
]
LAYER = 1


def rows(subject: TinyModel, decomposer: dla.Decomposer, vector: Tensor, **options: Any) -> dla.Attribution:
    end = dla.ResidualVector(vector, at=f"blocks.{LAYER}.hook_resid_post")
    options = {"pos": None, **options}
    return dla.Attributor(subject.model(), decomposer).attribute(some_tokens(1), end, **options)


@pytest.mark.parametrize("subject", params(MIXTURES))
def test_experts_add_up_to_their_mixture(subject: TinyModel) -> None:
    vector = torch.randn(subject.model().cfg.d_model)
    whole = rows(subject, dla.ComponentDecomposer(), vector)
    experts = rows(subject, dla.ExpertDecomposer(layers=[LAYER]), vector)
    assert "L1E0" in experts.labels
    label = str(next(part.parent for part in experts.parts if part.kind == "expert"))
    rolled = experts.group_by("component").select(label).values
    assert_close(rolled, whole.select(label).values, sum_size(experts), subject.eps, label)
    routed = experts.select(kind="expert").values
    assert bool((routed == 0).any(0).all()), "every token leaves some expert out"
    assert bool((routed != 0).any(0).all())


Truth = Callable[[Any, Tensor], Tensor]


def gated(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    gate, up = linear(x, gate_up).chunk(2, -1)
    return linear(silu(gate) * up, down)


def weights_of(moe: Any, x: Tensor, normalised: bool) -> Tensor:
    """The weight of every expert, 0 where it was not chosen."""
    probabilities = softmax(linear(x, moe.gate.weight).float(), -1)
    best, index = probabilities.topk(moe.gate.top_k, -1)
    best = best / best.sum(-1, keepdim=True) if normalised else best
    return torch.zeros_like(probabilities).scatter(-1, index, best)


def by_hand(moe: Any, x: Tensor, normalised: bool) -> dict[str, Tensor]:
    weights, experts = weights_of(moe, x, normalised), moe.experts
    found = {
        f"L1E{i}": weights[..., i, None] * gated(x, experts.gate_up_proj[i], experts.down_proj[i])
        for i in range(len(experts.down_proj))
    }
    if hasattr(moe, "shared_expert"):
        gate = linear(x, moe.shared_expert_gate.weight).sigmoid()
        found["1_shared_experts"] = gate * moe.shared_expert(x)
    return found


@pytest.mark.parametrize(("name", "normalised"), [("mixtral", True), ("olmoe", False), ("qwen2_moe", True)])
def test_each_expert_is_its_weight_times_its_output(name: str, normalised: bool) -> None:
    subject, model = TinyModel(name), architecture(name).hugging_face(0)
    inputs: list[Tensor] = []
    moe = model.model.layers[LAYER].mlp
    moe.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    vector = torch.randn(model.config.hidden_size)
    with torch.no_grad():
        model(some_tokens(1))
        expected = by_hand(moe, inputs[0], normalised)
    result = rows(subject, dla.ExpertDecomposer(), vector)
    assert set(expected) == {
        str(p) for p in result.parts if p.kind in ("expert", "shared_experts") and p.layer == LAYER
    }
    for label, vectors in expected.items():
        assert_close(result.select(label).values[0], vectors @ vector, sum_size(result), 4 * subject.eps, label)


def test_an_experts_own_biases_are_its_own() -> None:
    """GPT-OSS: a token's expert adds its output bias, times its weight."""
    model = architecture("gpt_oss").hugging_face(0)
    experts = model.model.layers[LAYER].mlp.experts
    before = torch.randn(model.config.hidden_size)
    subject = TinyModel("gpt_oss")
    bridge = subject.fresh()
    plain = dla.Attributor(bridge, dla.ExpertDecomposer())
    asked = dla.ResidualVector(before, at=f"blocks.{LAYER}.hook_resid_post")
    with_bias = plain.attribute(some_tokens(1), asked, pos=None)
    stacked = next(m for m in bridge.blocks[LAYER].modules() if getattr(m, "down_proj_bias", None) is not None)
    with torch.no_grad():
        stacked.down_proj_bias.zero_()
    without = dla.Attributor(bridge, dla.ExpertDecomposer()).attribute(some_tokens(1), asked, pos=None)
    change = with_bias.select(layer=LAYER, kind="expert").values - without.select(layer=LAYER, kind="expert").values
    chosen = with_bias.select(layer=LAYER, kind="expert").values != 0
    assert experts.down_proj_bias.abs().max() > 0
    assert bool((change[~chosen] == 0).all())
    assert bool((change[chosen] != 0).all())


@pytest.mark.parametrize("subject", params([MIXTURES[1], MIXTURES[4], MIXTURES[7], MIXTURES[-1]]))
def test_experts_at_one_position_refined_mixed_and_as_vectors(subject: TinyModel) -> None:
    vector = torch.randn(subject.model().cfg.d_model)
    everywhere = rows(subject, dla.ExpertDecomposer(), vector)
    last = rows(subject, dla.ExpertDecomposer(), vector, pos=-1)
    assert_close(
        last.values, everywhere.values[..., -1], sum_size(everywhere)[..., -1], subject.eps, "the last position"
    )
    whole = rows(subject, dla.HeadDecomposer() | dla.ComponentDecomposer(), vector)
    label = str(next(part.parent for part in last.parts if part.kind == "expert" and part.layer == LAYER))
    fine = whole.refine(label, by=dla.ExpertDecomposer())
    expected = everywhere.select(kind="expert", layer=LAYER).values
    assert_close(fine.select(kind="expert").values, expected, sum_size(everywhere), subject.eps, "refined")
    mixed = rows(subject, dla.HeadDecomposer() | dla.ExpertDecomposer(), vector)
    assert {"L0H0", "L0E0" if "L0E0" in everywhere.labels else "L1E0", "L1E1"} <= set(mixed.labels)
    written = fine.part("L1E1").vector() @ vector
    assert_close(written, fine.select("L1E1").values[0], sum_size(everywhere), 4 * subject.eps, "L1E1")


def twin(change: Callable[[ExpertWrites], dict[str, Any]]) -> dla.Decomposer:
    """The experts of Qwen, with a mistake."""

    class Wrong(dla.Decomposer):
        def writes(self, model: dla.ModelAdapter) -> list[dla.Write]:
            plan = dla.ExpertDecomposer().writes(model)
            return [replace(w, **change(w)) if isinstance(w, ExpertWrites) else w for w in plan]

    return Wrong()


TWINS: dict[str, Callable[[ExpertWrites], dict[str, Any]]] = {
    "renormalised twice over": lambda w: {"normalised": True, "weight": replace(w.weight, read=lambda x: x.square())},
    "the shared experts forgotten": lambda w: {"shared": None, "gate": None, "parts": w.parts[:-1]},
    "the gate forgotten": lambda w: {"gate": None},
    "the wrong expert": lambda w: {"call": lambda x, index: w.call(x, (index + 1) % (len(w.parts) - 1))},
}


@pytest.mark.parametrize("mistake", TWINS)
def test_wrong_experts_are_caught(mistake: str) -> None:
    subject = TinyModel("qwen2_moe")
    with pytest.raises(dla.ReconstructionError, match=r"miss the model's logit by"):
        dla.Attributor(subject.model(), twin(TWINS[mistake])).attribute(some_tokens(1), dla.Logit(5), pos=None)


def test_a_layer_without_a_mixture_cannot_be_named_and_a_cache_does_not_hold_the_router() -> None:
    dense = TinyModel("deepseek_v3")
    with pytest.raises(dla.UnsupportedModelError, match=r"Layer 0 has no experts .* Leave it out of `layers`"):
        dla.Attributor(dense.model(), dla.ExpertDecomposer(layers=[0]))
    model, tokens = dense.model(), some_tokens(1)
    with torch.no_grad():
        cache = model.run_with_cache(tokens)[1]
    with pytest.raises(ValueError, match=r"The cache lacks 'blocks\.1\.mlp\.experts\.x'.* or leave the cache out"):
        dla.Attributor(model, dla.ExpertDecomposer()).attribute(tokens, dla.Logit(5), cache=cache)
