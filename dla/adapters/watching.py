"""Hooks of a run: observers at hook names, and fewer positions at the unembedding."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from dla.adapters.base import Editing, Observer
from dla.adapters.module_inputs import HookPoints, ModuleInput
from dla.errors import UnsupportedModelError
from dla.inputs.given import shown
from dla.writes.sites import take_rows

_BEFORE = " before its hooks"


def before_hooks(name: str) -> str:
    """The name under which an activation is observed before any hook at its place edits it."""
    return f"{name}{_BEFORE}"


@contextlib.contextmanager
def watching(hook_points: HookPoints, observe: Mapping[str, Observer]) -> Iterator[None]:
    """Calls each observer with the activation at its hook name whenever the model reaches the hook.

    The hooks run after those of the user, so that an edited activation is observed as edited.

    Raises:
        ValueError: If the model has no such hook.
    """
    found = {name: _point(hook_points, name.removesuffix(_BEFORE)) for name in observe}
    with contextlib.ExitStack() as stack:
        for name, observer in observe.items():
            point, first = found[name], name.endswith(_BEFORE)
            if isinstance(point, ModuleInput):
                handle = point.register(observer)
            else:
                handle = point.register_forward_hook(
                    lambda _, __, output, observer=observer: observer(output), prepend=first
                )
            stack.callback(handle.remove)
        yield


@contextlib.contextmanager
def changing(hook_points: HookPoints, changes: Mapping[str, Editing]) -> Iterator[None]:
    """Puts other activations in the place of those at some hook names, after the user's hooks and before observers.

    Raises:
        ValueError: If the model has no such hook.
        UnsupportedModelError: If what is there is an argument of a module's call, which is only observed.
    """
    found = {name: _point(hook_points, name) for name in changes}
    with contextlib.ExitStack() as stack:
        for name, change in changes.items():
            point = found[name]
            if isinstance(point, ModuleInput):
                raise UnsupportedModelError(f"What {shown(name)} shows can be read and not edited.")
            handle = point.register_forward_hook(lambda _, __, output, change=change: change(output))
            stack.callback(handle.remove)
        yield


def _point(hook_points: HookPoints, name: str) -> nn.Module | ModuleInput:
    if name not in hook_points:
        some = ", ".join(repr(known) for known in get_close_matches(name, hook_points, 3))
        raise ValueError(f"The model has no hook {name!r}. Pass one of its hook names, such as {some}.")
    return hook_points[name]


@contextlib.contextmanager
def keeping_rows(unembed: nn.Module, rows: Int[Tensor, "batch query"] | None) -> Iterator[None]:
    """Unembeds only some positions, whose logits do not change: the unembedding treats each position on its own."""
    # Not before the final norm, which costs little: Hugging Face's GPT-2 reshapes its output to the prompt's length.
    if rows is None:
        yield
        return

    handle = unembed.register_forward_pre_hook(lambda _, args: (take_rows(args[0], rows, 1), *args[1:]))
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def in_slices(unembed: nn.Module, rows: Int[Tensor, "batch query"], width: int) -> Iterator[None]:
    """Unembeds some positions, a few at a time: observers of the readout are called once per slice, in order.

    The logits of a slice are freed before the next ones are made, so that no tensor `[batch pos d_vocab]` exists. The
    model returns the last slice.

    Args:
        unembed: The unembedding.
        rows: The positions.
        width: How many positions a slice may have.
    """

    def slice_up(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        stream = take_rows(args[0], rows, 1)
        *first, last = stream.tensor_split(-(-rows.shape[1] // width), 1)
        for some in first:
            unembed.forward(some, *args[1:])  # not the module itself: this is a hook of the module's own call
        return (last, *args[1:])

    handle = unembed.register_forward_pre_hook(slice_up)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def in_sample(
    unembed: nn.Module,
    rows: Int[Tensor, "batch query"],
    sample: Int[Tensor, " some"],
    see: Callable[[Float[Tensor, "batch query d_model"]], None],
) -> Iterator[None]:
    """Unembeds only a sample of some positions, and shows the unembedding's input at all of them.

    Args:
        unembed: The unembedding.
        rows: The positions.
        sample: Which of them are unembedded; the model returns their logits.
        see: Called with the unembedding's input at all of them.
    """

    def take(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        stream = take_rows(args[0], rows, 1)
        see(stream)
        return (stream.index_select(1, sample.to(stream.device)), *args[1:])

    handle = unembed.register_forward_pre_hook(take)
    try:
        yield
    finally:
        handle.remove()


def is_hooked(module: nn.Module) -> bool:
    """Whether there is a hook on the module or inside it."""
    return any(inner._forward_hooks or inner._forward_pre_hooks for inner in module.modules())


def merged_observers(groups: Sequence[Mapping[str, Observer]]) -> dict[str, Observer]:
    """One observer for each hook name, calling all that were asked for."""
    names = dict.fromkeys(name for group in groups for name in group)
    return {name: _in_turn([group[name] for group in groups if name in group]) for name in names}


def _in_turn(calls: Sequence[Observer]) -> Observer:
    return calls[0] if len(calls) == 1 else partial(_call_all, calls)


def _call_all(calls: Sequence[Observer], activation: Tensor) -> None:
    for call in calls:
        call(activation)
