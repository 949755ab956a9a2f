"""What may become of queries and keys before they meet, as hypotheses: norms, turns by position, a cap."""

import itertools
from collections.abc import Iterator
from functools import partial

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from dla.adapters.recognise.attention import layouts
from dla.adapters.recognise.match import tensor_of
from dla.adapters.recognise.norms import epsilons
from dla.adapters.recognise.recording import Recording, widened, wrapped_module
from dla.adapters.score_reads import HeadNorm, HeadSide, HeadStep, SeenTurn, ShownTurn
from dla.writes.sites import Site

_CAPS = ("attn_logit_softcapping", "attn_scores_soft_cap")

BothSides = tuple[tuple[HeadStep, ...], tuple[HeadStep, ...]]
"""Those of queries and those of keys."""


def steps_between(
    path: str, module: nn.Module, recording: Recording, query: HeadSide, key: HeadSide
) -> Iterator[BothSides]:
    """What may become of queries and keys before they meet: nothing, a norm, a turn, one after the other."""
    for norms in _norms(module, recording, query, key):
        yield norms
        for turns in _turns(path, recording, query, key):
            yield norms[0] + turns[0], norms[1] + turns[1]
            if norms[0]:
                yield turns[0] + norms[0], turns[1] + norms[1]


def _norms(module: nn.Module, recording: Recording, query: HeadSide, key: HeadSide) -> Iterator[BothSides]:
    """No norm, or one of queries and one of keys of the same kind."""
    yield (), ()
    children = dict(module.named_children())
    owners = [children.get(name) for name in ("q_norm", "k_norm")]
    shapes = [recording.read(side.site).shape[2:] for side in (query, key)]
    kinds = itertools.product((0.0, 1.0, None), (True, False), (False, True), (False, True))
    for added, biased, centred, whole in kinds:
        for eps in dict.fromkeys(epsilon for owner in owners if owner is not None for epsilon in epsilons(owner)):
            make = partial(_norm, added=added, biased=biased, centred=centred, whole=whole, eps=eps)
            of_query, of_key = map(make, owners, shapes)
            if of_query is not None and of_key is not None:
                yield (of_query,), (of_key,)


def _norm(
    owner: nn.Module | None,
    shape: torch.Size,
    added: float | None,
    biased: bool,
    centred: bool,
    whole: bool,
    eps: float,
) -> HeadNorm | None:
    """A norm of heads with the weight of a module; None where that does not fit.

    Args:
        owner: The module.
        shape: How many heads there are, and how wide they are.
        added: What is added to its weight, as Gemma does; None for no weight.
        biased: Whether it has a bias.
        centred: Whether it subtracts the mean.
        whole: Whether it is one norm for all heads.
        eps: Its ε.
    """
    if owner is None or (whole and centred):
        return None
    held = [tensor_of(owner, "w", "weight") if added is not None else None, tensor_of(owner, "b", "bias")]
    weight, bias = (_by_head(tensor, shape) for tensor in held)
    if (weight is None) != (added is None) or (bias is None and biased):
        return None
    weight = None if weight is None else widened(weight.detach()) + (added or 0.0)
    return HeadNorm(weight, bias if biased else None, eps, centred, whole)


def _by_head(tensor: Shaped[Tensor, "..."] | None, shape: torch.Size) -> Float[Tensor, "#head d_head"] | None:
    """A weight with an axis of heads, of size 1 where they share it."""
    if tensor is None or tensor.numel() not in (shape[-1], shape.numel()):
        return None
    return tensor.reshape(-1, shape[-1])


def _turns(path: str, recording: Recording, query: HeadSide, key: HeadSide) -> Iterator[BothSides]:
    """Turns by position: those whose cosines and sines are shown, then those that are seen in their result."""
    d_head = recording.read(query.site).shape[-1]
    yield from _shown_turns(path, recording, d_head)
    shown = [recording.activation(f"{path}.hook_rot_{side.kind.lower()}") for side in (query, key)]
    if any(each is None for each in shown):
        return
    turned: list[Site] = []
    for side, each in zip((query, key), shown, strict=True):
        assert each is not None
        shape = recording.read(side.site).shape
        turned += [Site(f"{path}.hook_rot_{side.kind.lower()}", 1, read) for read in list(layouts(each, shape))[:1]]
    if len(turned) < 2:
        return
    for width, adjacent in itertools.product(_widths(recording, query.site, turned[0]), (False, True)):
        yield (SeenTurn(width, adjacent, turned[0]),), (SeenTurn(width, adjacent, turned[1]),)


def _shown_turns(path: str, recording: Recording, d_head: int) -> Iterator[BothSides]:
    names = [f"{path}.hook_cos", f"{path}.hook_sin"]
    shown = [recording.activation(name) for name in names]
    if any(each is None or each.ndim != 3 for each in shown) or shown[0] is None:
        return
    entries = shown[0].shape[-1]
    # Models show each cosine twice, in one of two orders, or once.
    ways = [(entries, _first_half), (entries, _every_second), (2 * entries, None)]
    for (width, taken), adjacent in itertools.product(ways, (False, True)):
        if width <= d_head and width % 2 == 0:
            # Not by prompt: what is the same for all is there once.
            sites = [Site(name, None) if taken is None else Site(name, None, taken) for name in names]
            turn = ShownTurn(width, adjacent, *sites)
            yield (turn,), (turn,)


def _widths(recording: Recording, before: Site, after: Site) -> list[int]:
    """How many numbers of a head may be turned: all, or up to the last that differs."""
    one, other = (widened(recording.read(site)) for site in (before, after))
    if one.shape != other.shape:
        return [one.shape[-1]]
    changed = (one != other).flatten(0, -2).any(0).nonzero()
    last = int(changed.max()) + 1 if len(changed) else 0
    return list(dict.fromkeys(width for width in (one.shape[-1], last + last % 2) if width and width % 2 == 0))


def _first_half(x: Float[Tensor, "batch pos twice"]) -> Float[Tensor, "batch pos pair"]:
    return x[..., : x.shape[-1] // 2]


def _every_second(x: Float[Tensor, "batch pos twice"]) -> Float[Tensor, "batch pos pair"]:
    return x[..., ::2]


def caps_of(module: nn.Module) -> Iterator[float | None]:
    """Soft caps that the scores may have: none, then what a module or its configuration says."""
    yield None
    for owner in (module, wrapped_module(module)):
        for config in (owner, getattr(owner, "cfg", None), getattr(owner, "config", None)):
            for name in _CAPS:
                cap = getattr(config, name, None)
                if isinstance(cap, int | float) and cap > 0:
                    yield float(cap)
