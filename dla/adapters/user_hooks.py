"""The user's own hooks: which there are, and how to take them off for a while.

A model with hooks is attributed as it runs, with them. Its anatomy is recognised without them.
"""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any, final

from torch import nn
from torch.nn.modules import module as torch_module

from dla.adapters.base import ModelAdapter
from dla.adapters.functions import digest_of, name_of, package_of
from dla.adapters.turns import turn_on
from dla.inputs.given import is_a

# Packages whose hooks on a module are part of how the model computes: TransformerLens' captures, weight norms,
# offloading. Every hook on a hook point is the user's, whoever defined it, since hook points serve nothing else.
_FRAMEWORKS = frozenset(
    ("torch", "transformers", "transformers_modules", "transformer_lens", "accelerate", "peft", "bitsandbytes")
)

# The last step of the path by which a bridge reaches the module that it wraps.
_WRAPPED = "._original_component"

_FORWARD = ("_forward_pre_hooks", "_forward_hooks")
_BACKWARD = ("_backward_pre_hooks", "_backward_hooks")
# PyTorch's hooks of all modules at once.
_GLOBAL: tuple[dict[int, Any], ...] = (
    torch_module._global_forward_pre_hooks,
    torch_module._global_forward_hooks,
)


HOOK_POINT = ("transformer_lens.hook_points", "HookPoint")
"""The class of hook points, for `is_a`."""

EVERYWHERE = "every module"
"""The `place` of a hook of all modules at once."""


@final
@dataclass(frozen=True)
class UserHook:
    """A function of the user's that is called while the model runs.

    Attributes:
        place: The name of the hook point, or the path of the module, that it is on.
        function: Its name, `module.qualified_name`.
        digest: Changes with what it does; see `digest_of`.
        names: Every name of the place.
    """

    place: str
    function: str
    digest: str
    names: tuple[str, ...]

    @property
    def layer(self) -> int | None:
        """The block that it is in; None outside of the blocks."""
        found = re.match(r"blocks\.(\d+)(\.|$)", self.place)
        return None if found is None else int(found[1])

    def __str__(self) -> str:
        return f"{' = '.join(self.names)} ({self.function})"


def hooks_of(model: Any) -> tuple[str, ...]:
    """The user's forward hooks as texts, in the order of the model's modules; part of a fingerprint of the model.

    A text has the place, the function's name and a digest of what the function does.

    Args:
        model: A model, or an adapter of one.

    Examples:
        >>> import dla.demo
        >>> model = dla.demo.load_small("raw")
        >>> with model.hooks(fwd_hooks=[("blocks.1.attn.hook_z", lambda z, hook: 0 * z)]):
        ...     print(hooks_of(model)[0].split(": ")[0])
        blocks.1.attn.hook_z
        >>> hooks_of(model)
        ()
    """
    return tuple(f"{hook.place}: {hook.function} {hook.digest}" for hook in user_hooks(model))


def user_hooks(model: Any) -> tuple[UserHook, ...]:
    """The user's forward hooks, in the order of the model's modules.

    Args:
        model: A model, or an adapter of one.
    """
    roots = _roots(model)
    with _turn(model):
        hooked = [module for module in modules_below(roots) if module._forward_hooks or module._forward_pre_hooks]
        there = [(module, function) for module in hooked for function in _users(module)]
        everywhere = list(_globals())
    if not there and not everywhere:
        return ()
    names = _names(roots)
    found = [_described(function, names.get(id(module), ("?",))) for module, function in there]
    return (*(_described(function, (EVERYWHERE,)) for function in everywhere), *found)


def is_readout_hooked(model: Any, unembed: nn.Module | None) -> bool:
    """Whether a hook of the user's may see logits, so that it must see those of every position in one tensor.

    Args:
        model: A model, or an adapter of one.
        unembed: The unembedding; None if it is not known.
    """
    seeing = [*_roots(model), *([] if unembed is None else modules_below([unembed]))]
    with _turn(model):
        return any(True for _ in itertools.chain(_globals(), *map(_users, seeing)))


@contextlib.contextmanager
def without_user_hooks(model: Any) -> Iterator[None]:
    """Takes the user's hooks off the model, forward and backward, and puts them back in their order, also on an error.

    Hooks that are added or removed in the meantime stay so, and the handle of a hook still removes it afterwards.

    Args:
        model: A model, or an adapter of one.
    """
    with contextlib.ExitStack() as stack:
        for hooks in _GLOBAL:
            stack.enter_context(_without(hooks, lambda f: package_of(f) not in _FRAMEWORKS))
        for module in modules_below(_roots(model)):
            for kind in (*_FORWARD, *_BACKWARD):
                if getattr(module, kind, None):
                    stack.enter_context(_without(getattr(module, kind), _is_users(module)))
            if is_a(module, *HOOK_POINT) and (module.fwd_hooks or module.bwd_hooks):
                stack.enter_context(_unlisted(module))
        yield


@contextlib.contextmanager
def _without(hooks: dict[int, Any], unwanted: Callable[[Any], bool]) -> Iterator[None]:
    """Takes some entries out of a dict of hooks for a while. The dict stays the same object: handles refer to it."""
    before = dict(hooks)
    taken = {key for key, function in before.items() if unwanted(function)}
    try:
        for key in taken:
            del hooks[key]
        yield
    finally:
        now = dict(hooks)
        kept = {key: function for key, function in before.items() if key in taken or key in now}
        hooks.clear()
        hooks.update({**kept, **now})


@contextlib.contextmanager
def _unlisted(point: Any) -> Iterator[None]:
    """Empties a hook point's own lists of hooks, by which TransformerLens decides whether to compute an activation."""
    forward, backward = point.fwd_hooks, point.bwd_hooks
    point.fwd_hooks, point.bwd_hooks = [], []
    try:
        yield
    finally:
        point.fwd_hooks, point.bwd_hooks = [*forward, *point.fwd_hooks], [*backward, *point.bwd_hooks]


def _users(module: nn.Module) -> Iterator[Any]:
    """The user's functions on a module that are called in a forward pass."""
    is_users = _is_users(module)
    for kind in _FORWARD:
        hooks: Mapping[int, Any] = getattr(module, kind)
        yield from (_given(module, key, function) for key, function in hooks.items() if is_users(function))


def _globals() -> Iterator[Any]:
    return (f for hooks in _GLOBAL for f in hooks.values() if package_of(f) not in _FRAMEWORKS)


def _is_users(module: nn.Module) -> Callable[[Any], bool]:
    if is_a(module, *HOOK_POINT):
        return lambda _: True
    return lambda function: package_of(function) not in _FRAMEWORKS


def _given(module: nn.Module, key: int, function: Any) -> Any:
    """The function that the user gave to TransformerLens, which wraps it in one of its own."""
    listed: Any = module.fwd_hooks if is_a(module, *HOOK_POINT) else ()
    for handle in listed:
        if handle.hook.id == key:
            return getattr(handle, "user_hook", None) or function
    return function


def _described(function: Any, names: tuple[str, ...]) -> UserHook:
    return UserHook(names[0], name_of(function), digest_of(function), names)


def _turn(model: Any) -> RLock:
    """The turn on a model: while another thread has it, the observers of its run are on the model too."""
    return turn_on(model.source if isinstance(model, ModelAdapter) else model)


def _roots(model: Any) -> list[nn.Module]:
    """The modules that run: of an adapter, those that it holds; of a bridge, also the model that it wraps."""
    if isinstance(model, ModelAdapter):
        held = getattr(model, "__dict__", {}).values()
        return [root for value in held if isinstance(value, ModelAdapter | nn.Module) for root in _roots(value)]
    wrapped = getattr(model, "original_model", None)
    return [model, wrapped] if isinstance(wrapped, nn.Module) else [model]


def modules_below(roots: Sequence[nn.Module], with_hook_points: bool = True) -> list[nn.Module]:
    """Every module once, in order. For each call, where `nn.Module.modules` takes too long.

    Args:
        roots: Where to begin.
        with_hook_points: Whether to list modules that hold nothing; most modules of a model are hook points.
    """
    waiting, found = list(roots), list[nn.Module]()
    seen = set(map(id, waiting))
    while waiting:
        module = waiting.pop()
        found.append(module)
        for inner in reversed(module._modules.values()):
            if inner is None or id(inner) in seen or not (with_hook_points or inner._parameters or inner._modules):
                continue
            seen.add(id(inner))
            waiting.append(inner)
    return found


def _names(roots: list[nn.Module]) -> dict[int, tuple[str, ...]]:
    """Every name of every module; for a hook point TransformerLens' names, an alias such as `hook_resid_pre` first."""
    paths: dict[int, list[tuple[int, str]]] = {}
    aliases: dict[int, list[str]] = {}
    for i, root in enumerate(roots):
        for path, module in root.named_modules(remove_duplicate=False):
            name = ".".join(["original_model", path] if i and path else [path or type(root).__name__])
            # A bridge also reaches what it wraps by Hugging Face's paths; its own, shorter ones are preferred.
            paths.setdefault(id(module), []).append((i + name.count(_WRAPPED), name.replace(_WRAPPED, "")))
        for name, point in getattr(root, "hook_dict", {}).items():
            aliases.setdefault(id(point), []).append(name)
    return {key: _in_order(min(known)[1], aliases.get(key, ())) for key, known in paths.items()}


def _in_order(path: str, aliases: Sequence[str]) -> tuple[str, ...]:
    """The aliases, then the path."""
    return (*dict.fromkeys(name for name in aliases if name != path), path)
