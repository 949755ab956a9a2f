"""What running a TransformerLens model takes, whichever class it is."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, final
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor, nn

from dla.adapters.anatomy import Anatomy
from dla.adapters.recognise.discover import DoesNotRunError, discover
from dla.adapters.recognise.match import tensor_of
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.offloaded import at_hand, home_of
from dla.adapters.recognise.recording import tokens_to_record
from dla.adapters.taps import HookPoints, module_inputs_of
from dla.adapters.turns import turn_on
from dla.adapters.user_hooks import HOOK_POINT, silenced, user_hooks
from dla.errors import UnsupportedModelError
from dla.inputs.given import is_a

_SWITCHES = ("use_attn_result", "use_split_qkv_input", "use_attn_in", "use_hook_mlp_in")

_FOUND: WeakKeyDictionary[Any, tuple[tuple[Any, ...], Anatomy]] = WeakKeyDictionary()
"""What was found out about each model that is still alive, shared by all adapters of it."""


@final
class HookMap:
    """A model's hook points by name, as they are now: what splices something into a model replaces some for good."""

    def __init__(self, model: Any, named: Callable[[], Mapping[str, nn.Module]]) -> None:
        """Looks nothing up yet.

        Args:
            model: The model.
            named: Gives its hook points by name, aliases included.
        """
        self._model, self._named = model, named
        self._known: tuple[tuple[int, ...], HookPoints] | None = None

    def get(self) -> HookPoints:
        """Every name with its hook point, or with what a module is called with.

        Raises:
            UnsupportedModelError: If something else sits where a hook point was.
        """
        modules = list(self._model.modules())
        state = tuple(map(id, modules))
        if self._known is None or self._known[0] != state:
            _check_hook_points(modules)
            self._known = state, {**self._named(), **module_inputs_of(self._model.blocks)}
        return self._known[1]


@final
class AnatomyCache:
    """Finds out a model's anatomy once, and again when its weights are no longer the same tensors.

    It is found without the user's hooks, which edit runs and are no part of the model; but with them where it does not
    run without, as a head in float32 does not after a body in half precision.
    """

    def __init__(
        self,
        model: Any,
        hook_points: HookMap,
        modules: Callable[[], ModelModules],
        forward: Callable[[Int[Tensor, "batch pos"]], Tensor],
    ) -> None:
        """Finds nothing out yet.

        Args:
            model: The model; must be in evaluation mode when its anatomy is asked for.
            hook_points: Its hook points, by name.
            modules: Says where its norms, blocks and unembedding are.
            forward: Runs it on token ids.
        """
        self._model, self._hook_points = model, hook_points
        self._modules, self._forward = modules, forward

    def get(self) -> Anatomy:
        """The anatomy of the model as it is now."""
        check_evaluating(self._model)
        with turn_on(self._model):
            return self._found()

    def _found(self) -> Anatomy:
        state, hook_points = self._state(), self._hook_points.get()
        found = _FOUND.get(self._model)
        if found is None or found[0] != state:
            modules = self._modules()
            tokens = tokens_to_record(_known_ids(self._model), context_length(self._model))
            check_runnable(self._model, tokens)
            tokens = tokens.to(device_of(self._model))
            try:
                with silenced(self._model):
                    found = (state, discover(modules, hook_points, self._forward, tokens))
            except DoesNotRunError:
                if not user_hooks(self._model):
                    raise
                found = (state, discover(modules, hook_points, self._forward, tokens))
            _FOUND[self._model] = found
        return found[1]

    def is_current(self, anatomy: Anatomy) -> bool:
        """Whether an anatomy was found with the very weights that the model has now."""
        found = _FOUND.get(self._model)
        return found is not None and found[1] is anatomy and found[0] == self._state()

    def _state(self) -> tuple[Any, ...]:
        """Changes when weights are replaced or edited in place, and with the switches that move hooks."""
        model = self._model
        parts = [model.unembed, getattr(model, "ln_final", None), *model.blocks]
        modules = modules_in([part for part in parts if part is not None])
        tensors = [tensor for module in modules for tensor in module._parameters.values() if tensor is not None]
        weights = ((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors)
        adapters = (_adapters(module) for module in modules if "_active_adapter" in module.__dict__)
        return (*(getattr(model.cfg, switch, None) for switch in _SWITCHES), *adapters, *weights)


def _check_hook_points(modules: Iterable[nn.Module]) -> None:
    for module in modules:
        for name, inner in module._modules.items():
            if name.startswith("hook_") and inner is not None and not is_a(inner, *HOOK_POINT):
                raise UnsupportedModelError(
                    f"A {type(inner).__name__} has been put in the place of the hook point {name!r} of "
                    f"{type(module).__name__}, as SAELens does while an SAE is attached: what runs is not the model's "
                    "own blocks. Detach it (leave the `with model.saes(...)` block, or call model.reset_saes()), and "
                    "see what its features contribute with FeatureDecomposer."
                )


def modules_in(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Every module that may hold something, in an order of its own; for every call, where `modules` takes too long."""
    waiting, found = list(modules), list[nn.Module]()
    seen = set(map(id, waiting))
    while waiting:
        module = waiting.pop()
        found.append(module)
        for inner in module._modules.values():
            # a model has far more hook points, which hold nothing, than anything else
            if inner is not None and (inner._parameters or inner._modules) and id(inner) not in seen:
                seen.add(id(inner))
                waiting.append(inner)
    return found


def _adapters(module: nn.Module) -> tuple[Any, ...]:
    """Which of a layer's adapters (those of peft) are on, and how strongly: switches that no weight shows."""
    kept = module.__dict__
    switches = (kept.get("_disable_adapters"), kept.get("_active_adapter"), kept.get("merged_adapters"))
    return (*map(str, switches), str(kept.get("scaling")))


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
    with at_hand(model.embed):
        W_E = tensor_of(model.embed, "W_E", "weight")
    return int(model.cfg.d_vocab) if W_E is None else min(int(model.cfg.d_vocab), W_E.shape[0])


def output_size(model: Any) -> int:
    """How many tokens the unembedding answers with."""
    with at_hand(model.unembed):
        W_U = tensor_of(model.unembed, "W_U")
    return int(model.cfg.d_vocab if W_U is None else W_U.shape[1])


def context_length(model: Any) -> int | None:
    """How many tokens a prompt may have; None where the model sets no limit."""
    return getattr(model.cfg, "n_ctx", None) or None


def device_of(model: Any) -> torch.device:
    """Where token ids must be for the model to run."""
    device: torch.device = next(iter(model.parameters())).device
    return home_of(model.embed) if device.type == "meta" else device
