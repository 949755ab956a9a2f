"""Weights that accelerate keeps elsewhere and brings only while a module runs (`cpu_offload`, `device_map`)."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from dla.errors import UnsupportedModelError


@contextlib.contextmanager
def at_hand(*modules: nn.Module) -> Iterator[None]:
    """Shows the weights inside some modules as they are kept: where they are on the "meta" device, there is nothing.

    On the CPU, where they are kept: whatever is taken from them meanwhile stays, and is no second copy.

    Raises:
        UnsupportedModelError: If a weight is nowhere.
    """
    from accelerate.utils import align_module_device

    inners = dict.fromkeys(inner for module in modules for inner in module.modules() if _hook_of(inner) is not None)
    with contextlib.ExitStack() as stack:
        for inner in inners:
            try:
                stack.enter_context(align_module_device(inner, torch.device("cpu")))
            except KeyError as error:
                raise UnsupportedModelError(
                    f"The weight {error.args[0]!r} is on the 'meta' device, and accelerate does not keep it: "
                    "TransformerLens has added it to a model that was offloaded already. Load the model whole, on one "
                    "device."
                ) from error
        yield


def home_of(module: nn.Module) -> torch.device:
    """Where a module runs: where its weights are, or are brought to."""
    device = next(iter(module.parameters())).device
    hooks = (_hook_of(inner) for inner in module.modules())
    brought = (torch.device(hook.execution_device) for hook in hooks if hook is not None)
    return next(brought, device) if device.type == "meta" else device


def _hook_of(module: nn.Module) -> Any:
    """What accelerate has put on a module whose own weights are elsewhere; None if they are where they seem."""
    hook = module.__dict__.get("_hf_hook")
    return hook if getattr(hook, "offload", False) else None
