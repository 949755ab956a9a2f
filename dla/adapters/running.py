"""What running a TransformerLens model takes, whichever class it is."""

from collections.abc import Callable, Iterable
from typing import Any, final
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor, nn

from dla.adapters.anatomy import Anatomy
from dla.adapters.discovery import discover
from dla.adapters.parts import Parts
from dla.adapters.probe import probe_tokens
from dla.adapters.recognise import tensor_of
from dla.adapters.taps import HookPoints

_SWITCHES = ("use_attn_result", "use_split_qkv_input", "use_attn_in", "use_hook_mlp_in")

_FOUND: WeakKeyDictionary[Any, tuple[tuple[Any, ...], Anatomy]] = WeakKeyDictionary()
"""What was found out about each model that is still alive, shared by all adapters of it."""


@final
class AnatomyCache:
    """Finds out a model's anatomy once, and again when its weights are no longer the same tensors."""

    def __init__(
        self,
        model: Any,
        hook_points: HookPoints,
        parts: Callable[[], Parts],
        forward: Callable[[Int[Tensor, "batch pos"]], Tensor],
    ) -> None:
        """Finds nothing out yet.

        Args:
            model: The model; must be in evaluation mode when its anatomy is asked for.
            hook_points: Its hook points, by name.
            parts: Says where its norms, blocks and unembedding are.
            forward: Runs it on token ids.
        """
        self._model, self._hook_points = model, hook_points
        self._parts, self._forward = parts, forward

    def get(self) -> Anatomy:
        """The anatomy of the model as it is now."""
        check_evaluating(self._model)
        state = self._state()
        found = _FOUND.get(self._model)
        if found is None or found[0] != state:
            parts = self._parts()
            tokens = probe_tokens(_known_ids(self._model), context_length(self._model))
            check_runnable(self._model, tokens)
            tokens = tokens.to(device_of(self._model))
            found = (state, discover(parts, self._hook_points, self._forward, tokens))
            _FOUND[self._model] = found
        return found[1]

    def _state(self) -> tuple[Any, ...]:
        """Changes when weights are replaced or edited in place, and with the switches that move hooks."""
        model = self._model
        modules = [model.unembed, getattr(model, "ln_final", None), *model.blocks]
        tensors = parameters_of([module for module in modules if module is not None])
        weights = tuple((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors)
        return (*(getattr(model.cfg, switch, None) for switch in _SWITCHES), *weights)


def parameters_of(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Every parameter, in an order of its own; for every call, where `nn.Module.parameters` takes too long."""
    waiting = list(modules)
    seen, tensors = set(map(id, waiting)), list[Tensor | None]()
    while waiting:
        module = waiting.pop()
        tensors += module._parameters.values()
        for inner in module._modules.values():
            # a model has far more hook points, which hold nothing, than anything else
            if inner is not None and (inner._parameters or inner._modules) and id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(inner)
    return [tensor for tensor in tensors if tensor is not None]


def check_evaluating(model: Any) -> None:
    """Refuses a model that drops out.

    Raises:
        ValueError: If it is in training mode.
    """
    if model.training or any(block.training for block in model.blocks):
        raise ValueError(
            "The model is in training mode, in which dropout makes every run different. Call model.eval() first."
        )


def check_runnable(model: Any, tokens: Int[Tensor, "batch pos"]) -> None:
    """Refuses what would run and give wrong numbers.

    Raises:
        ValueError: If the model is in training mode, or a prompt is longer than its context.
    """
    check_evaluating(model)
    n_ctx = context_length(model)
    if n_ctx is not None and tokens.shape[1] > n_ctx:
        raise ValueError(
            f"The longest prompt has {tokens.shape[1]} tokens and the model's context is {n_ctx}. Shorten it."
        )


def _known_ids(model: Any) -> int:
    """How many ids the embedding knows; the vocabulary of the answers may be another."""
    W_E = tensor_of(model.embed, "W_E", "weight")
    return int(model.cfg.d_vocab) if W_E is None else min(int(model.cfg.d_vocab), W_E.shape[0])


def context_length(model: Any) -> int | None:
    """How many tokens a prompt may have; None where the model sets no limit."""
    return getattr(model.cfg, "n_ctx", None) or None


def device_of(model: Any) -> torch.device:
    """Where token ids must be for the model to run."""
    device: torch.device = next(iter(model.parameters())).device
    return device
