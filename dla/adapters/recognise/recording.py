"""The recording: one small forward pass that shows what each hook of a model holds."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, final

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from dla.adapters.module_inputs import HookPoints, ModuleInput
from dla.inputs.given import is_a
from dla.writes.sites import Site

Forward = Callable[[Int[Tensor, "batch pos"]], Float[Tensor, "batch pos d_vocab"]]
"""Runs a model on token ids."""

# How many tokens each prompt of a recording has, and how many leading ones the two have in common.
_WIDTH, _SHARED = 5, 3


@final
@dataclass(frozen=True, eq=False)
class ModuleCall:
    """The last call of a module: copies of the tensors, and no key-value cache, which would remember the call.

    Attributes:
        args: Its arguments.
        kwargs: Its arguments by keyword.
        output: The first tensor that came out.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Shaped[Tensor, "..."] | None

    @property
    def input(self) -> Shaped[Tensor, "..."] | None:
        """The first tensor that went in."""
        return first_tensor((*self.args, *self.kwargs.values()))


@final
@dataclass(frozen=True, eq=False)
class Recording:
    """What was seen in the pass: copies, in the model's own dtypes.

    Attributes:
        tokens: Two prompts that begin alike.
        hooks: The activation at each hook name, aliases included.
        calls: The call of each module of a block and of the readout, by the module's path.
        wrapped: The call of the Hugging Face module that each of those wraps, if it was itself called.
        inputs: The first tensor that went into each module of `calls`.
        outputs: The first tensor that came out of it.
        repeated: Hook names that fired more than once in the pass.
        logits: What the model returned.
    """

    tokens: Int[Tensor, "prompt pos"]
    hooks: dict[str, Shaped[Tensor, "..."]]
    calls: dict[str, ModuleCall]
    wrapped: dict[str, ModuleCall]
    repeated: frozenset[str]
    logits: Float[Tensor, "prompt pos d_vocab"]

    @cached_property
    def inputs(self) -> dict[str, Shaped[Tensor, "..."]]:
        return {path: call.input for path, call in self.calls.items() if call.input is not None}

    @cached_property
    def outputs(self) -> dict[str, Shaped[Tensor, "..."]]:
        return {path: call.output for path, call in self.calls.items() if call.output is not None}

    def activation(self, name: str) -> Shaped[Tensor, "..."] | None:
        """The activation at a hook; None if the hook did not fire, or fired more than once."""
        return None if name in self.repeated else self.hooks.get(name)

    def read(self, site: Site) -> Shaped[Tensor, "..."]:
        """What a site shows, in the model's own dtype."""
        activation = self.hooks[site.name]
        return site.read(activation.unflatten(0, tuple(self.tokens.shape)) if site.flattened else activation)

    def at(self, sites: Iterable[Site]) -> dict[Site, Shaped[Tensor, "..."]]:
        """What some sites show, in float32 or finer."""
        return {site: widened(self.read(site)) for site in dict.fromkeys(sites)}

    def dtypes(self, sites: Iterable[Site]) -> list[torch.dtype]:
        """The dtypes of the activations there, without those of ids and masks, which are not rounded."""
        dtypes = (self.hooks[site.name].dtype for site in sites)
        return [dtype for dtype in dtypes if dtype.is_floating_point]


def tokens_to_record(d_vocab: int, n_ctx: int | None) -> Int[Tensor, "prompt pos"]:
    """Two prompts that begin alike and end differently, so that a model that is not causal shows itself.

    Args:
        d_vocab: How many ids the embedding knows.
        n_ctx: How many tokens a prompt may have; None where there is no limit.
    """
    width = _WIDTH if n_ctx is None else min(_WIDTH, n_ctx)
    ids = [(d_vocab // 3 + 1 + (7 * i * i + 3 * i) % max(d_vocab // 2, 1)) % d_vocab for i in range(width)]
    shared = min(_SHARED, max(width - 1, 1))
    other = [(token + 1 + i % max(d_vocab - 1, 1)) % d_vocab for i, token in enumerate(ids[shared:])]
    return torch.tensor([ids, [*ids[:shared], *other]], device="cpu")


def widened(tensor: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """A tensor in the precision in which values are compared: float32, or its own where that is finer."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32)) if tensor.is_floating_point() else tensor


def record_run(
    hook_points: HookPoints,
    modules: Mapping[str, nn.Module],
    forward: Forward,
    tokens: Int[Tensor, "batch pos"],
) -> Recording:
    """Runs the model once and records.

    Args:
        hook_points: Every hook point, by each of its names.
        modules: The modules whose calls are recorded, by path.
        forward: The model.
        tokens: The ids.
    """
    names: dict[nn.Module, list[str]] = {}
    arguments = {name: point for name, point in hook_points.items() if isinstance(point, ModuleInput)}
    for name, point in hook_points.items():
        if not isinstance(point, ModuleInput):
            names.setdefault(point, []).append(name)
    hooks: dict[str, Tensor] = {}
    calls: dict[str, ModuleCall] = {}
    wrapped: dict[str, ModuleCall] = {}
    counts: dict[str, int] = {}
    show = partial(_show, hooks, counts)
    with torch.no_grad(), contextlib.ExitStack() as stack:
        for point in names:
            stack.callback(point.register_forward_hook(lambda p, _, output: show(names[p], output)).remove)
        for name, argument in arguments.items():
            stack.callback(argument.register(partial(show, [name])).remove)
        for path, module in modules.items():
            stack.enter_context(_recording_calls(calls, path, module))
            original = wrapped_module(module)
            if original is not None:
                stack.enter_context(_recording_calls(wrapped, path, original))
        logits = _copied(forward(tokens))
    repeated = frozenset(name for name, count in counts.items() if count > 1)
    return Recording(tokens, hooks, calls, wrapped, repeated, logits)


def _show(hooks: dict[str, Tensor], counts: dict[str, int], names: Sequence[str], output: Any) -> None:
    value = first_tensor(output)
    value = None if value is None else _copied(value)
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        if value is not None:
            hooks[name] = value


@contextlib.contextmanager
def _recording_calls(calls: dict[str, ModuleCall], path: str, module: nn.Module) -> Iterator[None]:
    def enter(_: nn.Module, args: Any, kwargs: Any) -> None:
        copied = {name: _copied(arg) for name, arg in kwargs.items()}
        calls[path] = ModuleCall(tuple(map(_copied, args)), copied, None)

    def leave(_: nn.Module, _args: Any, output: Any) -> None:
        calls[path] = replace(calls[path], output=_copied(first_tensor(output)))

    handles = (
        module.register_forward_pre_hook(enter, with_kwargs=True),
        module.register_forward_hook(leave),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def wrapped_module(module: nn.Module) -> nn.Module | None:
    """The Hugging Face module that a module of a bridge wraps; None for any other module."""
    original = getattr(module, "original_component", None)
    return original if isinstance(original, nn.Module) else None


def first_tensor(value: Any) -> Shaped[Tensor, "..."] | None:
    """A tensor, or the first item of what a module takes or returns; None if that is not a tensor."""
    while isinstance(value, tuple | list) and value:
        value = value[0]
    return value if isinstance(value, Tensor) else None


def _copied(value: Any) -> Any:
    """A copy of a tensor, since a later module may write into it; anything else as it is.

    No key-value cache: it would add the tokens of a second call to those of the first.
    """
    if is_a(value, "transformers", "Cache"):
        return None
    return value.detach().clone() if isinstance(value, Tensor) else value
