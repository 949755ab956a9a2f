"""Recognising what a model is made of from what its hooks showed, never from its name.

Each finding is a hypothesis checked against the recording: a norm is a norm because `weight * C(x) / scale + bias`
reproduces its output; heads are heads because `Σ z @ W_O + b_O` reproduces the sublayer's output; a block adds what,
added to the stream before it, gives the stream after it. Each entry is compared for itself, with the rounding that the
model's own arithmetic can make there: real models have a few entries that are thousands of times as large as the rest.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dla.adapters.recognise.recording import Recording, widened
from dla.writes import Addition, BoundedValue, Computation, HookValue, NormOutput, Precision, is_half, precisions_of
from dla.writes.routes import Activations, Norm
from dla.writes.sites import Site

MOST_SUBLAYERS = 4
_MOST_DIGITS = 7

_LEAST_FACTOR = 1e-4
"""Of the largest in a sum: what a fit finds below is noise, and no model multiplies a part by so little."""

Step = Callable[[Precision], Computation]
"""A step of the model's arithmetic, but for its precision."""


@final
@dataclass(frozen=True)
class BlockSum:
    """`after = carry * before + Σ factor * part`: how a block's output is made.

    Attributes:
        carry: What the block multiplies the incoming stream by; 1 in nearly all models.
        factors: The multiplier of each part, by hook name.
    """

    carry: float
    factors: dict[str, float]


def explained(step: Step, activations: Activations, seen: Tensor, *others: torch.dtype) -> Computation | None:
    """The step in the finest precision in which it comes to what was seen; None if it does in none.

    Args:
        step: What the model may have computed.
        activations: What it reads, in float32 or finer.
        seen: What came of it, in the model's own dtype.
        others: The dtypes of what went in.
    """
    for precision in precisions_of(seen.dtype, *others):
        computation = step(precision)
        if not computation.at(activations).misses(widened(seen)):
            return computation
    return None


def miss_of_step(step: Step, activations: Activations, seen: Tensor, *others: torch.dtype) -> str:
    """By how much a step misses what was seen, in words."""
    computed = step(precisions_of(seen.dtype, *others)[-1]).at(activations)
    if computed.value.shape != seen.shape:
        return f"has shape {list(computed.value.shape)} and its output {list(seen.shape)}"
    missed = (widened(seen) - computed.value).abs()
    worst = int((missed - computed.slack).argmax())
    amount, allowed = float(missed.flatten()[worst]), float(computed.slack.flatten()[worst])
    return f"misses its output by {amount:.1e}, where rounding explains {allowed:.1e}"


def equal(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors show one and the same activation."""
    return left.shape == right.shape and bool((widened(left) == widened(right)).all())


def cast_from(before: Tensor, after: Tensor) -> bool:
    """Whether one tensor is the other, perhaps in another dtype."""
    return before.shape == after.shape and _scaled(before, after, 1.0)


def recognise_norm(path: str, module: nn.Module, recording: Recording, centred_first: bool) -> Norm | None:
    """The norm at `path`, or None if what it does is not a LayerNorm or RMSNorm given its scale."""
    before, after = recording.inputs.get(path), recording.outputs.get(path)
    if before is None or after is None or before.shape != after.shape:
        return None
    weight, bias = tensor_of(module, "w", "weight"), tensor_of(module, "b", "bias")
    weights = [weight, None] if weight is None else [weight, 1 + widened(weight.detach()), None]
    order = (True, False) if centred_first else (False, True)
    for site, centred in itertools.product(_scale_sites(path, module, recording), order):
        for w, b in itertools.product(weights, [bias, None] if bias is not None else [None]):
            if _usable(w, before) and _usable(b, before):
                norm = Norm(site, w, b, centred)
                if explains_norm(norm, recording, before, after) is not None:
                    return replace(norm, eps=_known_eps(norm, module, recording, before))
    return None


def explains_norm(norm: Norm, recording: Recording, before: Tensor, after: Tensor) -> Computation | None:
    """The norm as a step from what went in to what came out; None if it is another."""
    activations = {**recording.at([norm.scale]), _BEFORE: widened(before)}
    return explained(partial(NormOutput, HookValue(_BEFORE), norm), activations, after, before.dtype)


def recognise_block_sum(
    before: Tensor, after: Tensor, parts: dict[str, Tensor], likely: Sequence[Sequence[str]]
) -> BlockSum | None:
    """Which parts, added to the stream before a block, give the stream after it; None if no few of them do.

    Args:
        before: The stream that enters the block.
        after: The stream that leaves it.
        parts: What might be added, by hook name, preferred names first.
        likely: Combinations to try before all others.
    """
    names = list(parts)
    sizes = range(1, min(MOST_SUBLAYERS, len(names)) + 1)
    everything = itertools.chain.from_iterable(itertools.combinations(names, size) for size in sizes)
    for combination in itertools.chain((c for c in likely if all(n in parts for n in c)), everything):
        block_sum = _block_sum(before, after, {name: parts[name] for name in combination})
        if block_sum is not None:
            return block_sum
    return None


def constant_factor(before: Tensor, after: Tensor) -> float | None:
    """The constant by which one tensor is multiplied to give another; None if there is none."""
    if before.shape != after.shape:
        return None
    if cast_from(before, after):
        return 1.0
    fitted = _fit([before], after)[0]
    return next((factor for factor in _shortest(fitted) if _scaled(before, after, factor)), None)


def distinct(parts: Iterable[tuple[str, Tensor | None]], like: Tensor) -> dict[str, Tensor]:
    """The tensors shaped like the stream, each value once, under the first of its names."""
    found: dict[str, Tensor] = {}
    for name, value in parts:
        value = like_stream(value, like)
        if value is not None and value.shape == like.shape and not any(equal(value, v) for v in found.values()):
            found[name] = value
    return found


def like_stream(value: Tensor | None, stream: Tensor) -> Tensor | None:
    """A tensor with batch and position on axes of their own, if that makes it one row a token; else None."""
    if value is None or value.ndim < 2:
        return None
    if value.shape[:2] == stream.shape[:2] and value.ndim > 2:
        return value
    flat = value.ndim == 2 and value.shape[0] == stream.shape[0] * stream.shape[1]
    return value.unflatten(0, stream.shape[:2]) if flat else None


def tensor_of(module: nn.Module, *names: str) -> Tensor | None:
    """The first of several attributes that is a tensor with numbers in it.

    TransformerLens raises various errors where there is none, and has names that still hold what was offloaded.
    """
    for name in names:
        try:
            value = getattr(module, name)
        except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError, AssertionError):
            continue
        if isinstance(value, Tensor) and not value.is_meta:
            return value
    return None


_BEFORE = Site("(what goes in)")


def _block_sum(before: Tensor, after: Tensor, parts: dict[str, Tensor]) -> BlockSum | None:
    shown = {_BEFORE: before, **{Site(name): part for name, part in parts.items()}}
    activations = {site: widened(term) for site, term in shown.items()}
    dtypes = [term.dtype for term in shown.values()]
    plain = [1.0] * len(shown)
    fitted = None if _added(activations, plain, after, dtypes) else _fit(list(shown.values()), after)
    tried = [plain] if fitted is None else zip(*map(_shortest, fitted), strict=True)
    for factors in tried:
        if min(map(abs, factors)) < _LEAST_FACTOR * max(map(abs, factors)):
            return None
        addition = _added(activations, list(factors), after, dtypes)
        if addition is not None:
            terms = [activation * factor for activation, factor in zip(activations.values(), factors, strict=True)]
            if not _all_show(addition.at(activations), terms, widened(after)):
                return None
            carry, *others = factors
            return BlockSum(carry, dict(zip(parts, others, strict=True)))
    return None


def _all_show(computed: BoundedValue, terms: Sequence[Tensor], after: Tensor) -> bool:
    """Whether no term of a sum could be left out.

    Where the stream itself could, the block replaces it (by a norm of it), so that no constant carries it on.
    """
    return all(replace(computed, value=computed.value - term).misses(after) for term in terms)


def _added(
    activations: Activations, factors: Sequence[float], after: Tensor, dtypes: Sequence[torch.dtype]
) -> Computation | None:
    terms = list(zip(activations, factors, strict=True))
    return explained(partial(Addition, terms), activations, after, *dtypes)


def _scaled(before: Tensor, after: Tensor, factor: float) -> bool:
    return _added({_BEFORE: widened(before)}, [factor], after, [before.dtype]) is not None


def _fit(terms: Sequence[Tensor], after: Tensor) -> list[float]:
    """The factors with which the terms come closest to a tensor, each entry weighed by its own rounding."""
    columns = torch.stack([term.double() for term in terms], -1).flatten(0, -2)
    size = columns.abs().sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    wanted = after.double().flatten().unsqueeze(-1)
    solution: Tensor = torch.linalg.lstsq(columns / size, wanted / size).solution.squeeze(-1)
    return solution.tolist()


def _shortest(number: float) -> Iterator[float]:
    """A fitted number with one digit, two, and so on; last as it was found. Constants in models are written down."""
    yield from (float(f"{number:.{digits}g}") for digits in range(1, _MOST_DIGITS + 1))
    yield number


def _scale_sites(path: str, module: nn.Module, recording: Recording) -> list[Site]:
    """Where a norm's scale may be read: at its hook, or computed from its input; a rounded one is the last resort."""
    shown, computed = recording.hooks.get(f"{path}.hook_scale"), []
    if f"{path}.hook_in" in recording.hooks:
        eps = next((float(e) for e in (_eps(module, n) for n in ("eps", "variance_epsilon")) if e is not None), 0.0)
        computed = [Site(f"{path}.hook_in", read=_ScaleOf(eps, centred)) for centred in (True, False)]
    if shown is None or shown.shape[-1] != 1:
        return computed
    hook = Site(f"{path}.hook_scale", read=_squeeze_last)
    return [*computed, hook] if is_half(shown.dtype) else [hook, *computed]


def _known_eps(norm: Norm, module: nn.Module, recording: Recording, before: Tensor) -> float | None:
    """The `eps` with which the norm finds the scale that was seen."""
    seen = recording.at([norm.scale])[norm.scale]
    precision = precisions_of(recording.hooks[norm.scale.name].dtype, before.dtype)[-1]
    slack = (precision.unit + precision.sums) * seen
    for eps in (_eps(module, "eps"), _eps(module, "variance_epsilon"), 0.0):
        if eps is not None:
            scale = replace(norm, eps=eps).scale_of(widened(before))
            if bool(((scale - seen).abs() <= slack).all()):
                return eps
    return None


def _eps(module: nn.Module, name: str) -> float | None:
    value = getattr(getattr(module, "original_component", module), name, None)
    return float(value) if isinstance(value, int | float) else None


def _squeeze_last(scale: Tensor) -> Tensor:
    return scale.squeeze(-1)


@final
@dataclass(frozen=True)
class _ScaleOf:
    """The scale of a norm, from its input."""

    eps: float
    centred: bool

    def __call__(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos"]:
        x = x if x.dtype == torch.float64 else x.float()
        x = x - x.mean(-1, keepdim=True) if self.centred else x
        scale: Tensor = (x.pow(2).mean(-1) + self.eps).sqrt()
        return scale


def _usable(weight: Tensor | None, x: Tensor) -> bool:
    return weight is None or weight.shape == x.shape[-1:]
