"""Sublayers that write next to nothing on the recording, so that no sum shows them.

A ReLU that never fires, a matrix of zeros, or an output far smaller than the stream: such a sublayer would be dropped,
and its rows with it. Random numbers in its place show where its output goes.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from dla.adapters.module_inputs import HookPoints
from dla.adapters.recognise.match import like_stream
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.recording import Forward, Recording, widened
from dla.writes import Precision

# An output is visible if some entry is this many roundings of the stream's: below, a sum fits as well without it.
_VISIBLE = 8.0


def outputs_of(model: ModelModules, layer: int) -> list[str]:
    """The hooks that may show what a block adds to the stream: attention, MLP, then the outputs of its modules."""
    names = [f"blocks.{layer}.hook_attn_out", f"blocks.{layer}.hook_mlp_out"]
    return [*names, *(f"blocks.{layer}.{child}.hook_out" for child in model.children[layer])]


def negligible_outputs(model: ModelModules, hook_points: HookPoints, recording: Recording) -> list[nn.Module]:
    """The hook points of outputs whose addition is not visible in the stream.

    Args:
        model: The model's modules.
        hook_points: Its hook points, by name.
        recording: What was seen.
    """
    points: dict[nn.Module, None] = {}
    for layer in range(len(model.blocks)):
        stream = recording.hooks[f"blocks.{layer}.hook_resid_post"]
        for name in outputs_of(model, layer):
            point, seen = hook_points.get(name), like_stream(recording.activation(name), stream)
            if isinstance(point, nn.Module) and seen is not None and _is_negligible(seen, stream):
                points[point] = None
    return list(points)


def _is_negligible(seen: Shaped[Tensor, "..."], stream: Float[Tensor, "batch pos d_model"]) -> bool:
    if seen.shape != stream.shape or not seen.is_floating_point():
        return False
    least = _VISIBLE * Precision.of(stream.dtype).unit * widened(stream).abs()
    return not bool((widened(seen).abs() > least).any())


def with_random_outputs(forward: Forward, points: list[nn.Module]) -> Forward:
    """The model, with random numbers at some hook points."""

    def changed(tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_vocab"]:
        with _random_outputs(points):
            return forward(tokens)

    return changed


@contextlib.contextmanager
def _random_outputs(points: list[nn.Module]) -> Iterator[None]:
    generator = torch.Generator().manual_seed(0)

    def write(_: nn.Module, _args: Any, output: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return torch.randn(output.shape, generator=generator).to(output)

    with contextlib.ExitStack() as stack:
        for point in points:
            # Before the hooks that record, which must see what was written.
            stack.callback(point.register_forward_hook(write, prepend=True).remove)
        yield
