"""What the adapters of both TransformerLens classes need to run a model: its hooks, its anatomy, checks, sizes."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar, final
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor, nn

from dla.adapters.anatomy import Anatomy
from dla.adapters.module_inputs import HookPoints, module_inputs_of
from dla.adapters.reads import ModelReads
from dla.adapters.recognise.discover import DoesNotRunError, discover, discover_reads
from dla.adapters.recognise.match import tensor_of
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.offloaded import home_of, offloaded_weights
from dla.adapters.recognise.recording import Forward, tokens_to_record
from dla.adapters.turns import turn_on
from dla.adapters.user_hooks import HOOK_POINT, modules_below, user_hooks, without_user_hooks
from dla.errors import UnsupportedModelError
from dla.inputs.given import is_a

_ADAPTER_SETTINGS = ("_disable_adapters", "_active_adapter", "merged_adapters", "scaling")
_SWITCHES = ("use_attn_result", "use_split_qkv_input", "use_attn_in", "use_hook_mlp_in")

# The anatomy of each model that is still in memory, with the state that it was found in; shared by its adapters.
_FOUND: WeakKeyDictionary[Any, tuple[tuple[Any, ...], Anatomy]] = WeakKeyDictionary()

# What the sublayers read, with the anatomy that they are those of.
_READS: WeakKeyDictionary[Any, tuple[Anatomy, ModelReads]] = WeakKeyDictionary()

_Found = TypeVar("_Found")


@final
class HookMap:
    """A model's hook points by name, as they are now.

    SAELens, for one, leaves other hook points behind than it found, so the map is made again when a module changes.
    """

    def __init__(self, model: Any, named: Callable[[], Mapping[str, nn.Module]]) -> None:
        """Looks nothing up yet.

        Args:
            model: The model.
            named: Gives its hook points by name, aliases included.
        """
        self._model, self._named = model, named
        self._known: tuple[tuple[int, ...], HookPoints] | None = None

    def get(self) -> HookPoints:
        """Every hook point, and every argument of a module that is observed like one, by name.

        Raises:
            UnsupportedModelError: If another module has taken the place of a hook point.
        """
        modules = list(self._model.modules())
        state = tuple(map(id, modules))
        if self._known is None or self._known[0] != state:
            _check_hook_points(modules)
            self._known = state, {**self._named(), **module_inputs_of(self._model.blocks)}
        return self._known[1]


@final
class AnatomyCache:
    """Recognises a model's anatomy once, and again when its weights are no longer the same tensors.

    The user's hooks are taken off for that, since they edit runs and are not part of the model. Only a model that does
    not run without them keeps them, such as a float32 head on a body in half precision.
    """

    def __init__(
        self,
        model: Any,
        hook_points: HookMap,
        modules: Callable[[], ModelModules],
        forward: Forward,
    ) -> None:
        """Recognises nothing yet.

        Args:
            model: The model; must be in evaluation mode when `get` is called.
            hook_points: Its hook points, by name.
            modules: Gives its norms, blocks and unembedding.
            forward: The model.
        """
        self._model, self._hook_points = model, hook_points
        self._modules, self._forward = modules, forward

    def get(self) -> Anatomy:
        """The anatomy of the model as it is now.

        Raises:
            ValueError: If the model is in training mode.
            UnsupportedModelError: If it does not run, or cannot be attributed exactly.
        """
        check_evaluating(self._model)
        with turn_on(self._model):
            return self._found()

    def _found(self) -> Anatomy:
        state, _ = self._state(), self._hook_points.get()  # which refuses a hook point that is none any more
        found = _FOUND.get(self._model)
        if found is None or found[0] != state:
            found = _FOUND[self._model] = state, self._looked_at(discover)
        return found[1]

    def _looked_at(
        self, discovered: Callable[[ModelModules, HookPoints, Forward, Int[Tensor, "batch pos"]], _Found]
    ) -> _Found:
        """What is discovered by running the model on a few tokens, without the user's hooks."""
        modules, hook_points = self._modules(), self._hook_points.get()
        tokens = tokens_to_record(_known_ids(self._model), context_length(self._model))
        check_runnable(self._model, tokens)
        tokens = tokens.to(device_of(self._model))
        try:
            with without_user_hooks(self._model):
                return discovered(modules, hook_points, self._forward, tokens)
        except DoesNotRunError:
            if not user_hooks(self._model):
                raise
            return discovered(modules, hook_points, self._forward, tokens)

    def reads(self) -> ModelReads:
        """What the sublayers of that anatomy read; takes one more run when it is first asked for.

        Raises:
            ValueError: As `get`.
            UnsupportedModelError: As `get`.
        """
        anatomy = self.get()
        with turn_on(self._model):
            known = _READS.get(self._model)
            if known is None or known[0] is not anatomy:
                known = _READS[self._model] = anatomy, self._looked_at(partial(discover_reads, anatomy=anatomy))
        return known[1]

    def is_current(self, anatomy: Anatomy) -> bool:
        """Whether the model still has the weights with which an anatomy was found."""
        found = _FOUND.get(self._model)
        return found is not None and found[1] is anatomy and found[0] == self._state()

    def _state(self) -> tuple[Any, ...]:
        """Changes when weights are replaced or edited in place, or a switch that moves hooks or adapters is set."""
        model = self._model
        parts = [model.unembed, getattr(model, "ln_final", None), *model.blocks]
        modules = modules_below([part for part in parts if part is not None], with_hook_points=False)
        tensors = [tensor for module in modules for tensor in module._parameters.values() if tensor is not None]
        # PyTorch counts the edits in place of a tensor, except of one made in inference mode.
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


def _adapters(module: nn.Module) -> tuple[Any, ...]:
    """Which of a layer's adapters (those of peft) are on, and how strongly: settings that no weight shows."""
    return tuple(str(module.__dict__.get(name)) for name in _ADAPTER_SETTINGS)


def check_evaluating(model: Any) -> None:
    """Refuses a model with dropout.

    Raises:
        ValueError: If it is in training mode.
    """
    if model.training or any(block.training for block in model.blocks):
        raise ValueError(
            "The model is in training mode, in which dropout makes every run different. Call model.eval() first."
        )


def check_runnable(model: Any, tokens: Int[Tensor, "batch pos"]) -> None:
    """Refuses a call that would run and give wrong numbers.

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
    """How many ids the embedding knows; the unembedding may have more or fewer."""
    with offloaded_weights(model.embed):
        W_E = tensor_of(model.embed, "W_E", "weight")
    return int(model.cfg.d_vocab) if W_E is None else min(int(model.cfg.d_vocab), W_E.shape[0])


def output_size(model: Any) -> int:
    """How many logits the unembedding gives."""
    with offloaded_weights(model.unembed):
        W_U = tensor_of(model.unembed, "W_U")
    return int(model.cfg.d_vocab if W_U is None else W_U.shape[1])


def context_length(model: Any) -> int | None:
    """How many tokens a prompt may have; None where the model sets no limit."""
    # TransformerLens 3 gives MPT a length of its own, and the model has the ALiBi biases of another.
    config = getattr(getattr(model, "original_model", None), "config", None)
    lengths = getattr(model.cfg, "n_ctx", None), getattr(config, "max_seq_len", None)
    return min((length for length in lengths if length), default=None)


def device_of(model: Any) -> torch.device:
    """The device that token ids must be on for the model to run."""
    device: torch.device = next(iter(model.parameters())).device
    return home_of(model.embed) if device.type == "meta" else device
