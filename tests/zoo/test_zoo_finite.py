"""A model that makes NaN or infinity is said to, and where."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from subjects import LLAMA, some_tokens

import dla


def _output_weight(bridge: Any, value: float) -> None:
    with torch.no_grad():
        bridge.blocks[1].mlp.out.original_component.weight[3, 2] = value


def _readout(bridge: Any, _: float) -> None:
    with torch.no_grad():
        bridge.unembed.original_component.weight[3, 2] = torch.nan


def _norm(bridge: Any, value: float) -> None:
    with torch.no_grad():
        bridge.blocks[0].ln1.original_component.weight[0] = value


BROKEN: list[tuple[Callable[[Any, float], None], float, str]] = [
    (
        _output_weight,
        torch.nan,
        r"blocks\.1\.mlp\.out\.hook_out is the first.*weight blocks\.1\.mlp\.down_proj\.weight",
    ),
    (
        _output_weight,
        torch.inf,
        r"blocks\.1\.mlp\.out\.hook_out is the first.*weight blocks\.1\.mlp\.down_proj\.weight",
    ),
    (
        _readout,
        torch.nan,
        r"unembed\.hook_out is the first.*The weight unembed\.weight holds some: load the model again",
    ),
    (_norm, torch.nan, r"blocks\.0\.ln1\.\w+ is the first.*The weight blocks\.0\.ln1\.weight holds some"),
]


@pytest.mark.parametrize(("edit", "value", "where"), BROKEN)
def test_a_weight_that_is_no_number(edit: Callable[[Any, float], None], value: float, where: str) -> None:
    bridge = LLAMA.fresh()
    edit(bridge, value)
    with pytest.raises(dla.UnsupportedModelError, match=rf"logits are not finite.*of 5 tokens\. {where}"):
        dla.Attributor(bridge, dla.ComponentDecomposer())


def test_an_overflow_in_float16() -> None:
    bridge: Any = LLAMA.fresh().to(torch.float16)
    with torch.no_grad():
        bridge.blocks[0].mlp.out.original_component.weight *= 1e5
    with pytest.raises(dla.UnsupportedModelError, match=r"In float16 large activations overflow: load the model in"):
        dla.Attributor(bridge, dla.ComponentDecomposer())


def test_a_hook_that_makes_no_number() -> None:
    bridge = LLAMA.fresh()
    attributor = dla.Attributor(bridge, dla.ComponentDecomposer())
    bridge.blocks[1].mlp.hook_out.add_hook(lambda activation, hook: activation * torch.nan)
    with pytest.raises(
        dla.ReconstructionError, match=r"is not finite at prompt 0, position 0.*blocks\.1\.mlp\.hook_out"
    ):
        attributor.attribute(some_tokens(0), dla.Logit(7), pos=None)


def test_a_token_whose_embedding_is_no_number() -> None:
    bridge, tokens = LLAMA.fresh(), some_tokens(0)
    with torch.no_grad():
        bridge.embed.original_component.weight[0] = torch.nan
    attributor = dla.Attributor(bridge, dla.ComponentDecomposer())
    tokens[1, 3] = 0
    result = attributor.attribute(tokens[:1], dla.Logit(7), pos=None)
    assert bool((result.gap.abs() <= result.tolerance).all())
    with pytest.raises(dla.ReconstructionError, match=r"is not finite at prompt 1.*LayerDecomposer\(\) with check"):
        attributor.attribute(tokens, dla.Logit(7), pos=None)
