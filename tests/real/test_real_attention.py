"""Where heads of a real model look, against Hugging Face's own modules in float64."""

from functools import cache
from typing import Any

import pytest
import torch
from real_models import EIFFEL, UNEQUAL, adapted, difference, hugging_face, ids_of, prompts
from torch import Tensor

import dla

pytestmark = pytest.mark.slow

HEADS = ("L0H0", "L5H3", "L12H8", "L23H4", "L29H1")


@cache
def attributed(*facts: Any) -> dla.Attribution:
    return dla.Attributor(adapted(), dla.HeadDecomposer()).attribute(prompts(facts), difference(facts))


@cache
def scores_by_hand(prompt: str) -> list[Tensor]:
    """By layer, the scores `[head pos source]`, from what the projections put out and the model's own rotary module."""
    model: Any = hugging_face(torch.float64)
    seen: dict[tuple[int, str], Tensor] = {}
    for i, layer in enumerate(model.model.layers):
        for name in ("q_proj", "k_proj"):
            module = getattr(layer.self_attn, name)
            module.register_forward_hook(lambda _, __, output, key=(i, name): seen.update({key: output[0].detach()}))
    ids = ids_of(prompt)
    with torch.no_grad():
        model(ids.unsqueeze(0))
    cos, sin = (
        each[0].double() for each in model.model.rotary_emb(seen[0, "q_proj"][None], torch.arange(len(ids))[None])
    )

    def turned(x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]

    heads, groups = model.config.num_attention_heads, model.config.num_key_value_heads
    found = []
    for i in range(len(model.model.layers)):
        query, key = (
            turned(seen[i, "q_proj"].unflatten(-1, (heads, -1))),
            turned(seen[i, "k_proj"].unflatten(-1, (groups, -1))),
        )
        key = key.repeat_interleave(heads // groups, 1)
        found.append(torch.einsum("qhd,khd->hqk", query, key) / query.shape[-1] ** 0.5)
    return found


@pytest.mark.parametrize("label", HEADS)
def test_pairs_add_up_to_what_the_modules_give(label: str) -> None:
    part = attributed(EIFFEL).part(label)
    layer, head = part.label.layer, part.label.index
    assert layer is not None
    for query, key in ((-1, 2), (-1, -1), (5, 0), (3, 1)):
        found = part.attention(query, key)
        truth = scores_by_hand(EIFFEL.prompt)[layer][head, query, key]
        assert float((found.values.sum() - truth).abs()) < 2e-4
        assert float((found.score[0] - truth).abs()) < 2e-4
        assert bool((found.gap.abs() <= found.tolerance).all())
        assert float(found.tolerance) < 1e-3


def test_prompts_of_unequal_length_have_each_their_own_score() -> None:
    found = attributed(*UNEQUAL).part("L23H4").attention(-1, -3)
    for i, fact in enumerate(UNEQUAL):
        assert float((found.score[i] - scores_by_hand(fact.prompt)[23][4, -1, -3]).abs()) < 2e-4
    assert bool((found.gap.abs() <= found.tolerance).all())


def test_neurons_are_pieces_of_what_sublayers_add() -> None:
    part = attributed(EIFFEL).part("L12H8")
    coarse = part.attention(-1, 2, by=dla.ComponentDecomposer())
    fine = part.attention(-1, 2, by=dla.ComponentDecomposer() | dla.NeuronDecomposer(layers=[3]))
    of_neurons = [i for i, label in enumerate(fine.key_parts) if label.kind == "neuron"]
    assert len(of_neurons) == 1536
    whole = coarse.by_key[coarse.key_labels.index("3_mlp_out")]
    torch.testing.assert_close(fine.by_key[of_neurons].sum(0), whole, atol=1e-4, rtol=1e-4)
