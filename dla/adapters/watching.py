"""Hooks of a run: observers at hook names, and fewer positions at the unembedding."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from dla.adapters.module_inputs import HookPoints, ModuleInput
from dla.writes.sites import take_rows


@contextlib.contextmanager
def watching(hook_points: HookPoints, observe: Mapping[str, Callable[[Shaped[Tensor, "..."]], None]]) -> Iterator[None]:
    """Calls each observer with the activation at its hook name whenever the model reaches the hook.

    The hooks run after those of the user, so that an edited activation is observed as edited.

    Raises:
        ValueError: If the model has no such hook.
    """
    for name in observe:
        if name not in hook_points:
            some = ", ".join(repr(known) for known in get_close_matches(name, hook_points, 3))
            raise ValueError(f"The model has no hook {name!r}. Pass one of its hook names, such as {some}.")
    with contextlib.ExitStack() as stack:
        for name, observer in observe.items():
            point = hook_points[name]
            if isinstance(point, ModuleInput):
                handle = point.register(observer)
            else:
                handle = point.register_forward_hook(lambda _, __, output, observer=observer: observer(output))
            stack.callback(handle.remove)
        yield


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
