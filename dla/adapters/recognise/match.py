"""Comparing what the hooks of a model showed with what a hypothesis about it says.

What a model is made of is recognised from its activations, never from its name. Each finding is a hypothesis that is
checked on the recording: heads are heads because `Σ z @ W_O + b_O` reproduces the sublayer's output. Every entry is
compared on its own, with the rounding that the model's own arithmetic can make there: real models have a few entries
that are thousands of times as large as the rest.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from dla.adapters.recognise.recording import widened
from dla.writes import Addition, Computation, Precision, precisions_of
from dla.writes.routes import Activations
from dla.writes.sites import Site

_MOST_DIGITS = 7  # as many decimal digits as a float32 holds

# How many roundings a scaled entry may be from the ratio of two others, which are rounded themselves.
_FAR = 8.0

Step = Callable[[Precision], Computation]
"""A step of the model's arithmetic whose precision is still to be found."""

MODULE_INPUT = Site("(what goes in)")
"""Stands for the input of a module; hypotheses about a single module read no hook."""


def explained(
    step: Step, activations: Activations, seen: Shaped[Tensor, "..."], *others: torch.dtype
) -> Computation | None:
    """The step in the finest precision in which its result is what was seen; None if there is no such precision.

    Args:
        step: What the model may have computed.
        activations: What it reads, in float32 or finer.
        seen: The result in the model, in the model's own dtype.
        others: The dtypes of the inputs.
    """
    for precision in precisions_of(seen.dtype, *others):
        computation = step(precision)
        if not computation.misses(activations, widened(seen)):
            return computation
    return None


def miss_of_step(step: Step, activations: Activations, seen: Shaped[Tensor, "..."], *others: torch.dtype) -> str:
    """By how much a step misses what was seen, in words.

    Args:
        step: As in `explained`.
        activations: As in `explained`.
        seen: As in `explained`.
        others: As in `explained`.
    """
    computed = step(precisions_of(seen.dtype, *others)[-1]).at(activations)
    if computed.value.shape != seen.shape:
        return f"has shape {list(computed.value.shape)} and its output {list(seen.shape)}"
    missed = (widened(seen) - computed.value).abs()
    worst = int((missed - computed.slack).argmax())
    amount, allowed = float(missed.flatten()[worst]), float(computed.slack.flatten()[worst])
    return f"misses its output by {amount:.1e}, where rounding explains {allowed:.1e}"


def equal(left: Shaped[Tensor, "..."], right: Shaped[Tensor, "..."]) -> bool:
    """Whether two tensors show one and the same activation."""
    return torch.equal(widened(left), widened(right)) if left.shape == right.shape else False


def cast_from(before: Shaped[Tensor, "..."], after: Shaped[Tensor, "..."]) -> bool:
    """Whether one tensor is the other, perhaps in another dtype."""
    if before.shape != after.shape:
        return False
    return (before.dtype == after.dtype and torch.equal(before, after)) or _is_scaled(before, after, 1.0)


def constant_factor(before: Shaped[Tensor, "..."], after: Shaped[Tensor, "..."]) -> float | None:
    """The constant by which one tensor is multiplied to give another; None if there is none."""
    if before.shape != after.shape:
        return None
    if cast_from(before, after):
        return 1.0
    if not _may_be_scaled(before, after):
        return None
    fitted = fit_factors([before], after)[0]
    return next((factor for factor in shortest_first(fitted) if _is_scaled(before, after, factor)), None)


def added(
    activations: Activations,
    factors: Sequence[float],
    after: Shaped[Tensor, "..."],
    dtypes: Sequence[torch.dtype],
) -> Computation | None:
    """The sum `Σ factor * activation` as a step, if it is what was seen; else None.

    Args:
        activations: The terms.
        factors: One per term.
        after: What was seen.
        dtypes: The dtypes of the terms in the model.
    """
    terms = list(zip(activations, factors, strict=True))
    return explained(partial(Addition, terms), activations, after, *dtypes)


def fit_factors(terms: Sequence[Float[Tensor, "..."]], after: Float[Tensor, "..."]) -> list[float]:
    """The factors with which the terms come closest to a tensor."""
    columns = torch.stack([term.double() for term in terms], -1).flatten(0, -2)
    # Rounding grows with the size of an entry: unweighted, the few massive entries alone would decide the factors.
    size = columns.abs().sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    wanted = after.double().flatten().unsqueeze(-1)
    solution: Tensor = torch.linalg.lstsq(columns / size, wanted / size).solution.squeeze(-1)
    return solution.tolist()


def shortest_first(number: float) -> Iterator[float]:
    """A fitted number rounded to one digit, to two, and so on, and at the end as it was fitted.

    The constants of models are written by people, so the shortest number that fits is the one that was meant.
    """
    yield from (float(f"{number:.{digits}g}") for digits in range(1, _MOST_DIGITS + 1))
    yield number


def distinct(
    parts: Iterable[tuple[str, Shaped[Tensor, "..."] | None]], like: Float[Tensor, "..."]
) -> dict[str, Shaped[Tensor, "..."]]:
    """The tensors shaped like the stream, each value once, under the first of its names."""
    found: dict[str, Tensor] = {}
    for name, value in parts:
        value = like_stream(value, like)
        if value is not None and value.shape == like.shape and not any(equal(value, v) for v in found.values()):
            found[name] = value
    return found


def like_stream(
    value: Shaped[Tensor, "..."] | None, stream: Shaped[Tensor, "batch pos *d"]
) -> Shaped[Tensor, "batch pos *other"] | None:
    """A tensor with axes for batch and position; None if it has not one row per token."""
    if value is None or value.ndim < 2:
        return None
    if value.shape[:2] == stream.shape[:2] and value.ndim > 2:
        return value
    # Mixtures of experts see the tokens of all prompts as one axis.
    flat = value.ndim == 2 and value.shape[0] == stream.shape[0] * stream.shape[1]
    return value.unflatten(0, stream.shape[:2]) if flat else None


def tensor_of(module: nn.Module, *names: str) -> Shaped[Tensor, "..."] | None:
    """The first of several attributes that is a tensor with numbers in it; None if there is none.

    TransformerLens raises various errors for an attribute that a module lacks, and has attributes that still hold the
    empty tensor of an offloaded weight.
    """
    for name in names:
        try:
            value = getattr(module, name)
        except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError, AssertionError):
            continue
        if isinstance(value, Tensor) and not value.is_meta:
            return value
    return None


def _may_be_scaled(before: Shaped[Tensor, "*shape"], after: Shaped[Tensor, "*shape"]) -> bool:
    """Whether the ratio of the largest entries is near that of all others; most pairs are told apart by this alone."""
    precision = precisions_of(after.dtype, before.dtype)[-1]
    before, after = widened(before).flatten(), widened(after).flatten()
    largest = before.abs().argmax()
    scaled = before * (after[largest] / before[largest])
    return bool(((after - scaled).abs() <= _FAR * (precision.unit * scaled.abs() + precision.least)).all())


def _is_scaled(before: Shaped[Tensor, "..."], after: Shaped[Tensor, "..."], factor: float) -> bool:
    return added({MODULE_INPUT: widened(before)}, [factor], after, [before.dtype]) is not None
