"""A norm, recognised: `weight * C(x) / scale + bias` reproduces its output, given its scale."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from dla.adapters.recognise.match import MODULE_INPUT, explained, tensor_of
from dla.adapters.recognise.recording import Recording, widened
from dla.writes import Computation, HookValue, NormOutput, is_half, precisions_of
from dla.writes.routes import Norm
from dla.writes.sites import Site

EPSILONS = ("eps", "variance_epsilon")
"""What TransformerLens and Hugging Face call the ε of a norm."""


def recognise_norm(path: str, module: nn.Module, recording: Recording, centred_first: bool) -> Norm | None:
    """The norm at `path`; None if what it does is not a LayerNorm or RMSNorm given its scale.

    Args:
        path: The norm's, such as "ln_final".
        module: The norm.
        recording: What was seen.
        centred_first: Whether to try LayerNorm before RMSNorm; on a centred input the two do the same.
    """
    before, after = recording.inputs.get(path), recording.outputs.get(path)
    if before is None or after is None or before.shape != after.shape:
        return None
    weight, bias = tensor_of(module, "w", "weight"), tensor_of(module, "b", "bias")
    # Gemma multiplies by `1 + weight`. None, since what a module shows may be unused: the bridge's RMSNorm has no bias.
    weights = [None] if weight is None else [weight, 1 + widened(weight.detach()), None]
    order = (True, False) if centred_first else (False, True)
    for site, centred in itertools.product(_scale_sites(path, module, recording), order):
        for w, b in itertools.product(weights, [bias, None] if bias is not None else [None]):
            if _fits(w, before) and _fits(b, before):
                norm = Norm(site, w, b, centred)
                if explains_norm(norm, recording, before, after) is not None:
                    return replace(norm, eps=_known_eps(norm, module, recording, before))
    return None


def explains_norm(
    norm: Norm, recording: Recording, before: Float[Tensor, "..."], after: Float[Tensor, "..."]
) -> Computation | None:
    """The norm as a step from its input to its output; None if that is not what the norm does.

    Args:
        norm: The norm, as it is guessed.
        recording: Where its scale was seen.
        before: Its input.
        after: Its output.
    """
    activations = {**recording.at([norm.scale]), MODULE_INPUT: widened(before)}
    return explained(partial(NormOutput, HookValue(MODULE_INPUT), norm), activations, after, before.dtype)


def _scale_sites(path: str, module: nn.Module, recording: Recording) -> list[Site]:
    """Where a norm's scale may be read: at its hook, or computed from its input."""
    shown, computed = recording.hooks.get(f"{path}.hook_scale"), []
    if f"{path}.hook_in" in recording.hooks:
        eps = next(epsilons(module), 0.0)
        computed = [Site(f"{path}.hook_in", read=ScaleOf(eps, centred)) for centred in (True, False)]
    if shown is None or shown.shape[-1] != 1:
        return computed
    hook = Site(f"{path}.hook_scale", read=_squeeze_last)
    # A scale that the hook shows in half precision is rounded, and would be the coarsest step of the norm.
    return [*computed, hook] if is_half(shown.dtype) else [hook, *computed]


def _known_eps(norm: Norm, module: nn.Module, recording: Recording, before: Float[Tensor, "..."]) -> float | None:
    """The `eps` with which the norm finds the scale that was seen."""
    seen = recording.at([norm.scale])[norm.scale]
    precision = precisions_of(recording.hooks[norm.scale.name].dtype, before.dtype)[-1]
    slack = (precision.unit + precision.sums) * seen
    for eps in (*epsilons(module), 0.0):
        scale = replace(norm, eps=eps).scale_of(widened(before))
        if bool(((scale - seen).abs() <= slack).all()):
            return eps
    return None


def epsilons(module: nn.Module) -> Iterator[float]:
    """The ε of a norm, under each name that it has one."""
    for name in EPSILONS:
        value = getattr(getattr(module, "original_component", module), name, None)
        if isinstance(value, int | float):
            yield float(value)


def _squeeze_last(scale: Float[Tensor, "*axes 1"]) -> Float[Tensor, "*axes"]:
    return scale.squeeze(-1)


@final
@dataclass(frozen=True)
class ScaleOf:
    """The scale of a norm, from its input."""

    eps: float
    centred: bool

    def __call__(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos"]:
        x = x if x.dtype == torch.float64 else x.float()
        x = x - x.mean(-1, keepdim=True) if self.centred else x
        scale: Tensor = (x.pow(2).mean(-1) + self.eps).sqrt()
        return scale


def _fits(weight: Shaped[Tensor, "..."] | None, x: Float[Tensor, "... d_model"]) -> bool:
    return weight is None or weight.shape == x.shape[-1:]
