"""The recording: one small forward pass that shows what each hook of a model really holds."""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import torch
from jaxtyping import Int
from torch import Tensor, nn

from dla.adapters.module_inputs import HookPoints, ModuleInput
from dla.writes.sites import Site

_WIDTH, _SHARED = 5, 3
"""How many tokens each prompt of a recording has, and how many leading ones the two have in common."""


@final
@dataclass(frozen=True, eq=False)
class Recording:
    """What was seen in the pass: copies, as the model had them.

    Attributes:
        tokens: The two prompts.
        hooks: The activation at each hook name, aliases included.
        inputs: The first tensor that went into each by_path module, by the module's path.
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

    def activation(self, name: str) -> Tensor | None:
        """The activation at a hook; None if the hook did not fire, or fired more than once."""
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


def tokens_to_record(d_vocab: int, n_ctx: int | None) -> Int[Tensor, "prompt pos"]:
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


def record_run(
    hook_points: HookPoints,
    modules: Mapping[str, nn.Module],
    forward: Callable[[Int[Tensor, "batch pos"]], Tensor],
    tokens: Int[Tensor, "batch pos"],
) -> Recording:
    """Runs the model once and records.

    Args:
        hook_points: Every hook point, by each of its names.
        modules: Modules whose input and output are wanted, by path.
        forward: Runs the model on token ids.
        tokens: The ids.
    """
    names: dict[nn.Module, list[str]] = {}
    arguments = {name: point for name, point in hook_points.items() if isinstance(point, ModuleInput)}
    for name, point in hook_points.items():
        if not isinstance(point, ModuleInput):
            names.setdefault(point, []).append(name)
    seen = Recording(tokens, {}, {}, {}, frozenset(), torch.empty(0))
    counts: dict[str, int] = {}

    show = partial(_show, seen.hooks, counts)
    with torch.no_grad(), contextlib.ExitStack() as stack:
        for point in names:
            stack.callback(point.register_forward_hook(lambda p, _, output: show(names[p], output)).remove)
        for name, argument in arguments.items():
            stack.callback(argument.listen(partial(show, [name])).remove)
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


def _record(seen: Recording, path: str, _: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
    for store, value in ((seen.inputs, (*args, *kwargs.values())), (seen.outputs, output)):
        copy = _copy(value)
        if copy is not None:
            store[path] = copy


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
