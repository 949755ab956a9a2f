"""What an adapter for a plain PyTorch model needs: names for its activations, a way to run it, its norms."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dla.adapters.base import Observer
from dla.adapters.module_inputs import HookPoints, ModuleInput
from dla.adapters.watching import watching
from dla.writes.routes import Norm
from dla.writes.sites import Site, take_rows


def hook_points_of(model: nn.Module) -> HookPoints:
    """Every module's first argument, `blocks.0.norm.in`, and its output, `blocks.0.norm.out`."""
    modules = {path: module for path, module in model.named_modules() if path}
    inputs: dict[str, nn.Module | ModuleInput] = {
        f"{path}.in": ModuleInput(module, 0) for path, module in modules.items()
    }
    return inputs | {f"{path}.out": module for path, module in modules.items()}


def run_module(
    model: nn.Module,
    tokens: Int[Tensor, "batch pos"],
    observe: Mapping[str, Observer],
    rows: Int[Tensor, "batch query"] | None,
) -> Float[Tensor, "batch query d_vocab"]:
    """`ModelAdapter.run` for a module that takes token ids and returns logits, with the hooks of `hook_points_of`.

    All positions are unembedded before some of them are selected, which is simple and not the cheapest way.

    Args:
        model: The module.
        tokens: As in `ModelAdapter.run`.
        observe: As in `ModelAdapter.run`.
        rows: As in `ModelAdapter.run`.

    Raises:
        ValueError: If the model is in training mode, or a hook name is unknown.
    """
    if model.training:
        raise ValueError(
            "The model is in training mode, in which dropout makes every run different. Call eval() first."
        )
    with torch.no_grad(), watching(hook_points_of(model), observe):
        logits: Tensor = model(tokens.to(next(model.parameters()).device))
    return logits if rows is None else take_rows(logits, rows, 1)


def norm_of(path: str, module: nn.LayerNorm | nn.RMSNorm) -> Norm:
    """A norm of PyTorch's, whose scale is computed from its input.

    Args:
        path: The module's path in its model.
        module: The norm, over the last axis.
    """
    centred = isinstance(module, nn.LayerNorm)
    bias = module.bias.detach() if isinstance(module, nn.LayerNorm) and module.bias is not None else None
    weight = module.weight.detach() if module.elementwise_affine else None

    def scale(x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes"]:
        # PyTorch's RMSNorm without an ε of its own takes that of the dtype.
        eps = torch.finfo(x.dtype).eps if module.eps is None else module.eps
        x = x - x.mean(-1, keepdim=True) if centred else x
        return (x.pow(2).mean(-1) + eps).sqrt()

    return Norm(Site(f"{path}.in", read=scale), weight, bias, centred, module.eps)
