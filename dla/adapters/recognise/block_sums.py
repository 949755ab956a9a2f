"""How a block makes its output, recognised: which parts, added to the stream before it, give the stream after it."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from jaxtyping import Float, Shaped
from torch import Tensor

from dla.adapters.recognise.match import MODULE_INPUT, added, distinct, equal, fit_factors, shortest_first
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.negligible import outputs_of
from dla.adapters.recognise.recording import Recording, widened
from dla.writes import BoundedValue
from dla.writes.sites import Site

# Sums of more are not looked for: there are too many combinations, and no block of the catalogue adds more.
_MOST_SUBLAYERS = 4

# The least factor, relative to the largest of a sum. A fit finds smaller ones in noise; no model has them.
_LEAST_FACTOR = 1e-4


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


def recognise_block_sums(
    model: ModelModules,
    recording: Recording,
    before: Sequence[Float[Tensor, "batch pos d_model"]],
    after: Sequence[Float[Tensor, "batch pos d_model"]],
) -> list[BlockSum | None]:
    """How each block's output is made; None where it is not such a sum.

    Args:
        model: The model's modules.
        recording: What was seen.
        before: The stream that enters each block.
        after: The stream that leaves it.
    """
    found: list[BlockSum | None] = []
    for i, (entering, leaving) in enumerate(zip(before, after, strict=True)):
        parts = distinct(((name, recording.activation(name)) for name in outputs_of(model, i)), entering)
        parts = {name: part for name, part in parts.items() if not equal(part, entering)}
        likely: list[Sequence[str]] = [outputs_of(model, i)[:2]]
        # Blocks are mostly alike, and to try every combination is slow.
        likely += [[_in_layer(name, i) for name in last.factors] for last in found[-1:] if last is not None]
        found.append(recognise_block_sum(entering, leaving, parts, likely))
    return found


def recognise_block_sum(
    before: Float[Tensor, "batch pos d_model"],
    after: Float[Tensor, "batch pos d_model"],
    parts: Mapping[str, Shaped[Tensor, "batch pos d_model"]],
    likely: Sequence[Sequence[str]],
) -> BlockSum | None:
    """How one block's output is made; None where it is not such a sum.

    Args:
        before: The stream that enters the block.
        after: The stream that leaves it.
        parts: What the block may add, by hook name.
        likely: Combinations of them to try first.
    """
    for names in itertools.chain((names for names in likely if all(name in parts for name in names)), _choices(parts)):
        found = _sum_of(before, after, {name: parts[name] for name in names})
        if found is not None:
            return found
    return None


def _choices(parts: Mapping[str, Tensor]) -> Iterator[Sequence[str]]:
    """All combinations, the small ones first: a sum of fewer parts is preferred."""
    for size in range(1, min(_MOST_SUBLAYERS, len(parts)) + 1):
        yield from itertools.combinations(parts, size)


def _sum_of(before: Tensor, after: Tensor, parts: Mapping[str, Tensor]) -> BlockSum | None:
    shown = {MODULE_INPUT: before, **{Site(name): part for name, part in parts.items()}}
    activations = {site: widened(term) for site, term in shown.items()}
    dtypes = [term.dtype for term in shown.values()]
    plain = [1.0] * len(shown)
    fitted = None if added(activations, plain, after, dtypes) else fit_factors(list(shown.values()), after)
    tried = [plain] if fitted is None else zip(*map(shortest_first, fitted), strict=True)
    for factors in tried:
        if min(map(abs, factors)) < _LEAST_FACTOR * max(map(abs, factors)):
            return None
        addition = added(activations, list(factors), after, dtypes)
        if addition is not None:
            terms = [activation * factor for activation, factor in zip(activations.values(), factors, strict=True)]
            if not _all_matter(addition.at(activations), terms, widened(after)):
                return None
            carry, *others = factors
            return BlockSum(carry, dict(zip(parts, others, strict=True)))
    return None


def _all_matter(computed: BoundedValue, terms: Sequence[Tensor], after: Tensor) -> bool:
    """Whether no term of a sum could be left out.

    Where the incoming stream itself could, the block replaces the stream (by a norm of it), and no constant carries it.
    """
    return all(replace(computed, value=computed.value - term).misses(after) for term in terms)


def _in_layer(name: str, layer: int) -> str:
    """The hook of the same name in another block."""
    return ".".join(["blocks", str(layer), *name.split(".")[2:]])
