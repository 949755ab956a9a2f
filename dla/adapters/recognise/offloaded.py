"""Weights that accelerate keeps on another device and brings only while a module runs (`cpu_offload`, `device_map`)."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from dla.errors import UnsupportedModelError


@contextlib.contextmanager
def offloaded_weights(*modules: nn.Module) -> Iterator[None]:
    """Puts the offloaded weights of some modules in their place, on the CPU; on the "meta" device they are empty.

    The CPU is where accelerate keeps them, so what is taken from them stays valid afterwards and is not a second copy.

    Raises:
        UnsupportedModelError: If accelerate does not keep a weight.
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
    """The device on which a module runs: that of its weights, or the one that they are brought to."""
    device = next(iter(module.parameters())).device
    hooks = (_hook_of(inner) for inner in module.modules())
    brought = (torch.device(hook.execution_device) for hook in hooks if hook is not None)
    return next(brought, device) if device.type == "meta" else device


def _hook_of(module: nn.Module) -> Any:
    """The hook by which accelerate brings the weights of an offloaded module; None for any other module."""
    hook = module.__dict__.get("_hf_hook")
    return hook if getattr(hook, "offload", False) else None
