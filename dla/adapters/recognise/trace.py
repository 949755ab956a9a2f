"""The probe: one small forward pass that shows what each hook of a model really holds."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dla.adapters.recognise.taps import HookPoints, Tap
from dla.writes.sites import Site, take_rows

_WIDTH, _SHARED = 5, 3
"""How many tokens each prompt of a probe has, and how many leading ones the two have in common."""


@final
@dataclass(frozen=True, eq=False)
class Probe:
    """What was seen in the pass: copies, as the model had them.

    Attributes:
        tokens: The two prompts.
        hooks: The activation at each hook name, aliases included.
        inputs: The first tensor that went into each watched module, by the module's path.
        outputs: The first tensor that came out of it.
        repeated: Hook names that fired more than once in the pass.
        logits: What the model returned, `[batch pos d_vocab]`.
    """

    tokens: Int[Tensor, "prompt pos"]
    hooks: dict[str, Tensor]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    repeated: frozenset[str]
    logits: Tensor

    def once(self, name: str) -> Tensor | None:
        """What a hook showed, if it fired just once."""
        return None if name in self.repeated else self.hooks.get(name)

    def read(self, site: Site) -> Tensor:
        """What a site shows, in the model's own dtype."""
        activation = self.hooks[site.name]
        return site.read(activation.unflatten(0, tuple(self.tokens.shape)) if site.flattened else activation)

    def at(self, sites: Iterable[Site]) -> dict[Site, Tensor]:
        """What some sites show, in float32 or finer."""
        return {site: widened(self.read(site)) for site in dict.fromkeys(sites)}

    def dtypes(self, sites: Iterable[Site]) -> list[torch.dtype]:
        """The dtypes of the activations there; of ids and masks there are none."""
        dtypes = (self.hooks[site.name].dtype for site in sites)
        return [dtype for dtype in dtypes if dtype.is_floating_point]


def probe_tokens(d_vocab: int, n_ctx: int | None) -> Int[Tensor, "prompt pos"]:
    """Two prompts that begin alike and end differently: enough to tell a causal model from others.

    Args:
        d_vocab: How many ids the embedding knows.
        n_ctx: How many tokens a prompt may have; None where there is no limit.
    """
    width = _WIDTH if n_ctx is None else min(_WIDTH, n_ctx)
    ids = [(d_vocab // 3 + 1 + (7 * i * i + 3 * i) % max(d_vocab // 2, 1)) % d_vocab for i in range(width)]
    shared = min(_SHARED, max(width - 1, 1))
    other = [(token + 1 + i % max(d_vocab - 1, 1)) % d_vocab for i, token in enumerate(ids[shared:])]
    return torch.tensor([ids, [*ids[:shared], *other]], device="cpu")


def widened(tensor: Tensor) -> Tensor:
    """A tensor in the precision in which we compare: float32, or its own where that is finer."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32)) if tensor.is_floating_point() else tensor


def take_probe(
    hook_points: HookPoints,
    modules: Mapping[str, nn.Module],
    forward: Callable[[Int[Tensor, "batch pos"]], Tensor],
    tokens: Int[Tensor, "batch pos"],
) -> Probe:
    """Runs the model once and records.

    Args:
        hook_points: Every hook point, by each of its names.
        modules: Modules whose input and output are wanted, by path.
        forward: Runs the model on token ids.
        tokens: The ids.
    """
    names: dict[nn.Module, list[str]] = {}
    taps = {name: point for name, point in hook_points.items() if isinstance(point, Tap)}
    for name, point in hook_points.items():
        if not isinstance(point, Tap):
            names.setdefault(point, []).append(name)
    seen = Probe(tokens, {}, {}, {}, frozenset(), torch.empty(0))
    counts: dict[str, int] = {}

    show = partial(_show, seen.hooks, counts)
    with torch.no_grad(), contextlib.ExitStack() as stack:
        for point in names:
            stack.callback(point.register_forward_hook(lambda p, _, output: show(names[p], output)).remove)
        for name, tap in taps.items():
            stack.callback(tap.listen(partial(show, [name])).remove)
        for path, module in modules.items():
            handle = module.register_forward_hook(partial(_record, seen, path), with_kwargs=True)
            stack.callback(handle.remove)
        logits = _copy(forward(tokens))
    assert logits is not None
    repeated = frozenset(name for name, count in counts.items() if count > 1)
    return replace(seen, repeated=repeated, logits=logits)


def _show(hooks: dict[str, Tensor], counts: dict[str, int], names: Sequence[str], output: Any) -> None:
    value = _copy(output)
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        if value is not None:
            hooks[name] = value


def _record(seen: Probe, path: str, _: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
    for store, value in ((seen.inputs, (*args, *kwargs.values())), (seen.outputs, output)):
        copy = _copy(value)
        if copy is not None:
            store[path] = copy


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
            if isinstance(point, Tap):
                handle = point.listen(observer)
            else:
                handle = point.register_forward_hook(lambda _, __, output, observer=observer: observer(output))
            stack.callback(handle.remove)
        yield


@contextlib.contextmanager
def keeping_rows(unembed: nn.Module, rows: Int[Tensor, "batch kept"] | None) -> Iterator[None]:
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
def in_slices(unembed: nn.Module, rows: Int[Tensor, "batch kept"], width: int) -> Iterator[None]:
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
    rows: Int[Tensor, "batch kept"],
    sample: Int[Tensor, " some"],
    see: Callable[[Float[Tensor, "batch kept d_model"]], None],
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


def first_tensor(value: Any) -> Tensor | None:
    """A tensor, or the first one in what a module takes or returns; None where that begins with something else."""
    while isinstance(value, tuple | list) and value:
        value = value[0]
    return value if isinstance(value, Tensor) else None


def _copy(value: Any) -> Tensor | None:
    value = first_tensor(value)
    if value is None:
        return None
    copy: Tensor = value.detach().clone()
    return copy
