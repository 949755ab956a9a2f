"""Sublayers that wrote next to nothing on the recording, made to write: only so is it seen where that goes."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from dla.adapters.module_inputs import HookPoints
from dla.adapters.recognise.match import like_stream
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.recording import Recording, widened
from dla.writes import Precision

_VISIBLE = 8.0
"""How many roundings of the stream an addition must come to somewhere, so that it can be told from none."""

Forward = Callable[[Int[Tensor, "batch pos"]], Tensor]


def outputs_of(model: ModelModules, layer: int) -> list[str]:
    """The hooks that may show what a block adds to the stream, TransformerLens' own names first."""
    names = [f"blocks.{layer}.hook_attn_out", f"blocks.{layer}.hook_mlp_out"]
    return [*names, *(f"blocks.{layer}.{child}.hook_out" for child in model.children[layer])]


def negligible_outputs(model: ModelModules, hook_points: HookPoints, recording: Recording) -> list[nn.Module]:
    """The hook points that showed nothing, or nothing that a stream could tell from rounding.

    A ReLU that never fired, a matrix of zeros before them, or a part that is far smaller than the stream.
    """
    points: dict[nn.Module, None] = {}
    for layer in range(len(model.blocks)):
        stream = recording.hooks[f"blocks.{layer}.hook_resid_post"]
        for name in outputs_of(model, layer):
            point, seen = hook_points.get(name), like_stream(recording.activation(name), stream)
            if isinstance(point, nn.Module) and seen is not None and _is_negligible(seen, stream):
                points[point] = None
    return list(points)


def _is_negligible(seen: Tensor, stream: Tensor) -> bool:
    if seen.shape != stream.shape or not seen.is_floating_point():
        return False
    least = _VISIBLE * Precision.of(stream.dtype).unit * widened(stream).abs()
    return not bool((widened(seen).abs() > least).any())


def with_random_outputs(forward: Forward, points: list[nn.Module]) -> Forward:
    """The model, with random numbers where some hook points show next to nothing."""

    def forward_with_random_outputs(tokens: Int[Tensor, "batch pos"]) -> Tensor:
        with _random_outputs(points):
            return forward(tokens)

    return forward_with_random_outputs


@contextlib.contextmanager
def _random_outputs(points: list[nn.Module]) -> Iterator[None]:
    generator = torch.Generator().manual_seed(0)

    def write(_: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return torch.randn(output.shape, generator=generator).to(output)

    with contextlib.ExitStack() as stack:
        for point in points:
            # before the observers, which must see what was written
            stack.callback(point.register_forward_hook(write, prepend=True).remove)
        yield
