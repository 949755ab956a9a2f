"""Hooks that watch a run: observers at hook names, and fewer positions at the unembedding."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from dla.adapters.module_inputs import HookPoints, ModuleInput
from dla.writes.sites import take_rows


@contextlib.contextmanager
def watching(hook_points: HookPoints, observe: Mapping[str, Callable[[Tensor], None]]) -> Iterator[None]:
    """Calls each observer with the activation at its hook name, whenever the model gets there.

    Raw PyTorch hooks, after any hook of the user's own: an edited activation is seen as edited.
    """
    for name in observe:
        if name not in hook_points:
            some = ", ".join(repr(known) for known in get_close_matches(name, hook_points, 3))
            raise ValueError(f"The model has no hook {name!r}. Pass one of its hook names, such as {some}.")
    with contextlib.ExitStack() as stack:
        for name, observer in observe.items():
            point = hook_points[name]
            if isinstance(point, ModuleInput):
                handle = point.listen(observer)
            else:
                handle = point.register_forward_hook(lambda _, __, output, observer=observer: observer(output))
            stack.callback(handle.remove)
        yield


@contextlib.contextmanager
def keeping_rows(unembed: nn.Module, rows: Int[Tensor, "batch query"] | None) -> Iterator[None]:
    """Unembeds only some positions: the unembedding treats each alone, so the logits of the kept ones are unchanged.

    The final norm still sees all of them. Hugging Face's GPT-2 reshapes its output to the prompt's length, and the
    norm costs nothing beside the unembedding.
    """
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
    """Unembeds some positions, a few at a time: observers of the readout are called once a slice, in order.

    Each slice's logits are dropped before the next ones are made, so that a tensor `[batch pos d_vocab]` never exists.
    What the model returns is the last slice.

    Args:
        unembed: The unembedding.
        rows: The positions.
        width: How many positions a slice may have.
    """

    def slice_up(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        stream = take_rows(args[0], rows, 1)
        *first, last = stream.tensor_split(-(-rows.shape[1] // width), 1)
        for some in first:
            unembed.forward(some, *args[1:])  # not the module: this is a hook of its own call
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
    """Shows what enters the unembedding at some positions, and unembeds only a sample of them.

    Args:
        unembed: The unembedding.
        rows: The positions.
        sample: Which of them are unembedded, and become what the model returns.
        see: Called with the stream at all of them.
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
    """Whether somebody has put a hook on the module, or inside it."""
    return any(inner._forward_hooks or inner._forward_pre_hooks for inner in module.modules())
