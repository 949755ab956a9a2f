"""Whether TransformerLens runs on copies of a weight, and so loses what the weight's module computes besides.

Where a matrix is fused (GPT-2's `c_attn`), TransformerLens splits the weight into copies and never calls the module
again. An adapter that was added to the module (LoRA and its kin) is then lost without a warning. Once weights are
processed only the module itself still shows it.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from dla.adapters.recognise.linear import Linear
from dla.adapters.recognise.match import MODULE_INPUT, explained, tensor_of
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.offloaded import offloaded_weights
from dla.adapters.recognise.recording import Forward, first_tensor, widened
from dla.adapters.watching import is_hooked
from dla.errors import UnsupportedModelError

_VECTORS = 4  # how many random vectors a module is tried on


def check_copies(model: ModelModules, forward: Forward, tokens: Int[Tensor, "batch pos"]) -> None:
    """Refuses a model of which a part is lost.

    Args:
        model: The model's modules.
        forward: The model.
        tokens: The ids.

    Raises:
        UnsupportedModelError: If a module that is not called computes something else than its weight.
    """
    with offloaded_weights(*model.by_path().values()):
        lost = {(path, name): module for path, name, module in _maps(model) if not _is_its_weight(module)}
    if not lost:
        return
    called: set[nn.Module] = set()
    handles = [module.register_forward_hook(lambda m, *_: called.add(m)) for module in lost.values()]
    try:
        with torch.no_grad():
            forward(tokens)
    finally:
        for handle in handles:
            handle.remove()
    for (path, name), module in lost.items():
        if module not in called:
            kind = f"{type(module).__module__.partition('.')[0]}'s {type(module).__name__}"
            raise UnsupportedModelError(
                f"TransformerLens runs {path} on copies of the weight of {name}, and never calls {name} itself, which "
                f"computes something else than that weight says: it is {kind}. So this bridge is not the model that "
                "it was made from. Where that is an adapter, merge it first, with model = model.merge_and_unload(), "
                "and make the bridge of what that returns."
            )


def _maps(model: ModelModules) -> Iterator[tuple[str, str, nn.Module]]:
    """Every module with a matrix that a child of a block wraps: the child's path, its own name there, the module."""
    for path, module in model.by_path().items():
        original = getattr(module, "original_component", None)
        if isinstance(original, nn.Module):
            yield from ((path, name, inner) for name, inner in _inside(original))


def _inside(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, inner in module.named_children():
        original = getattr(inner, "original_component", inner)
        weight = tensor_of(original, "weight")
        if weight is None:
            yield from ((f"{name}.{deeper}", found) for deeper, found in _inside(original))
        elif weight.ndim == 2 and weight.is_floating_point() and not weight.is_meta:
            yield name, original


def _is_its_weight(module: nn.Module) -> bool:
    """Whether a module multiplies by the matrix that it shows; also True of one that does not take vectors."""
    if _only_multiplies(type(module)) and "forward" not in module.__dict__ and not is_hooked(module):
        return True
    weight, bias = tensor_of(module, "weight"), tensor_of(module, "bias")
    assert weight is not None
    tried = False
    for matrix in (weight.T, weight):  # PyTorch's linear layers hold it transposed, Hugging Face's Conv1D does not
        x = torch.randn(1, _VECTORS, len(matrix), generator=torch.Generator().manual_seed(0)).to(weight)
        try:
            with torch.no_grad():
                output = first_tensor(module(x))
        except Exception:  # a module may refuse vectors for any reason
            continue
        if output is None or output.shape != (1, _VECTORS, matrix.shape[1]):
            continue
        tried, step = True, Linear(matrix, bias, weight.dtype).product(MODULE_INPUT)
        if explained(step, {MODULE_INPUT: widened(x)}, output, weight.dtype):
            return True
    return not tried


def _only_multiplies(kind: type[nn.Module]) -> bool:
    """Whether the modules of a class are known to multiply by their weight and do nothing else."""
    known: list[Any] = [base for base in kind.__mro__ if base.__module__ == "transformers.pytorch_utils"]
    return kind.forward in (nn.Linear.forward, *(base.forward for base in known if base.__name__ == "Conv1D"))
