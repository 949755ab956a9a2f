"""Why a block of a TransformerLens model was found to have no heads, or no neurons."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from dla.adapters.probe import Probe, take_probe
from dla.adapters.recognise import like_stream, sum_of_parts, tensor_of

_HOOKS = {"heads": ("hook_z", "W_O", "b_O"), "neurons": ("hook_post", "W_out", "b_out")}


def reasons_of(model: Any, tokens: Int[Tensor, "batch pos"]) -> Callable[[int, str], str]:
    """What to say of a block without heads or neurons.

    Args:
        model: A `HookedTransformer`, a `TransformerBridge`, or a `ModelAdapter`, of which nothing can be said.
        tokens: To run it on.
    """
    blocks = getattr(model, "blocks", None)
    if blocks is None or not hasattr(model, "hook_dict"):
        return lambda _, kind: f"the adapter names no {kind}"
    children = [dict(block.named_children()) for block in blocks]
    watched = {f"blocks.{i}.{name}": module for i, named in enumerate(children) for name, module in named.items()}

    def forward(ids: Tensor) -> Tensor:
        logits: Tensor = model(ids)
        return logits

    probe = take_probe(dict(model.hook_dict), watched, forward, tokens)

    def why(layer: int, kind: str) -> str:
        found = [_why(f"blocks.{layer}.{name}", module, probe, kind) for name, module in children[layer].items()]
        hook, matrix, _ = _HOOKS[kind]
        return "none: " + (
            "; ".join(text for text in found if text) or f"no module of this block has {hook} or {matrix}"
        )

    return why


def _why(path: str, module: nn.Module, probe: Probe, kind: str) -> str:
    hook, matrix, bias = _HOOKS[kind]
    weight, seen, output = tensor_of(module, matrix), probe.hooks.get(f"{path}.{hook}"), probe.outputs.get(path)
    if weight is None and seen is None:
        return ""
    if weight is None or output is None:
        return f"{path} has no {matrix}" if weight is None else f"{path} did not run"
    if seen is None:
        return f"{path}.{hook} does not fire"
    activation = like_stream(seen, output)
    heads = weight if weight.ndim == 3 else weight.unsqueeze(0)
    if activation is None or activation.flatten(2).shape[-1] != heads.shape[0] * heads.shape[1]:
        return f"{path}.{hook} {list(seen.shape)} does not fit {matrix} {list(weight.shape)}"
    split = activation.reshape(*activation.shape[:2], *heads.shape[:2])
    missed = (sum_of_parts(split, heads, tensor_of(module, bias)) - output).abs().max() / output.abs().max()
    return f"{path}: {hook} @ {matrix} + {bias} misses its output by {float(torch.as_tensor(missed)):.1e} of its size"
