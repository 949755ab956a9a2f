"""One run of a model, seen through its adapter: every activation that its anatomy speaks of."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters.anatomy import Anatomy
from dla.adapters.base import ModelAdapter
from dla.engine.activations import PositionSelector
from dla.inputs.prompts import read_positions, read_prompts
from dla.testing.differences import difference, largest
from dla.tolerances import MODULE_TOLERANCE
from dla.writes import Write
from dla.writes.sites import Site

_LARGE = 2**25
"""How many numbers the vectors of a sum may hold before it is seen in a few directions only."""


@final
@dataclass(frozen=True, eq=False)
class ObservedRun:
    """What was seen.

    Attributes:
        adapter: Of the model.
        tokens: What it ran on.
        activations: At each site that fired just once, in float64.
        fired: How often each site's hook fired.
        logits: What the model returned.
    """

    adapter: ModelAdapter
    tokens: Int[Tensor, "batch pos"]
    activations: dict[Site, Tensor]
    fired: dict[str, int]
    logits: Float[Tensor, "batch pos d_vocab"]

    @property
    def anatomy(self) -> Anatomy:
        """What the adapter says of the model."""
        return self.adapter.anatomy

    @property
    def slack(self) -> float:
        """The rounding that the model's dtype excuses, relative to the largest entry."""
        return MODULE_TOLERANCE.get(self.anatomy.unembedding.W_U.dtype, max(MODULE_TOLERANCE.values()))

    def misses(self, found: Sequence[Write], wanted: Sequence[Write], beside: Sequence[Write] = ()) -> str | None:
        """What is wrong with the sum of some writes, which should be that of others; None if nothing is.

        Args:
            found: What there is.
            wanted: What there should be.
            beside: What is in the sum that should be, and needs no explanation.
        """
        directions = self._directions(max(len(write.labels) for write in (*found, *wanted, *beside)))
        left = [self._summed(write, directions) for write in found]
        right = [self._summed(write, directions) for write in wanted]
        right += [-self._summed(write, directions) for write in beside]
        total = torch.stack(right).sum(0)
        together = torch.stack(left).sum(0) if left else torch.zeros_like(total)
        return difference(together, total, largest(*left, *right), self.slack)

    def vector(self, write: Write) -> Float[Tensor, "batch pos d_model"]:
        """The sum of a write's parts."""
        return self._summed(write, None)

    def same(self, found: Tensor, wanted: Tensor) -> str | None:
        """What is wrong with a tensor, which should be another; None if nothing is."""
        return difference(found, wanted, largest(found, wanted), self.slack)

    def _summed(self, write: Write, directions: Tensor | None) -> Tensor:
        """The sum of a write's parts, or what a few directions read of it, `[batch pos direction]`."""
        if directions is None:
            total = write.vectors(self.activations).double().sum(0)
        else:
            total = write.contract(self.activations, directions).sum(-3).movedim(0, -1)
        return total.expand(*self.tokens.shape, -1)

    def _directions(self, parts: int) -> Tensor | None:
        """None if there is room for all vectors; else random directions to see them in: a model has many neurons."""
        W_U = self.anatomy.unembedding.W_U
        width = W_U.shape[0]
        if parts * self.tokens.numel() * width <= _LARGE:
            return None
        count = max(4, min(64, _LARGE // (parts * self.tokens.numel())))
        generator = torch.Generator().manual_seed(0)
        directions = torch.randn(count, 1, 1, width, generator=generator, dtype=torch.float64)
        return directions.to(W_U.device) / math.sqrt(width)


def observe_run(adapter: ModelAdapter, tokens: Int[Tensor, "batch pos"]) -> ObservedRun:
    """Runs the model once, and keeps what its anatomy reads.

    Raises:
        Exception: Whatever the adapter raises for a hook name that it does not know.
    """
    everywhere = read_positions(None, read_prompts(tokens, adapter.vocabulary))
    select = PositionSelector(everywhere, tokens.shape[1], torch.float64)
    by_name: dict[str, list[Site]] = {}
    for site in dict.fromkeys(sites_of(adapter.anatomy)):
        by_name.setdefault(site.name, []).append(site)
    activations: dict[Site, Tensor] = {}
    fired = dict.fromkeys(by_name, 0)

    def observer(name: str) -> Callable[[Tensor], None]:
        def observe(activation: Tensor) -> None:
            fired[name] += 1
            for site in by_name[name]:
                activations[site] = select(site, activation.detach().clone())

        return observe

    logits = adapter.run(tokens, {name: observer(name) for name in by_name}, None)
    return ObservedRun(adapter, tokens, activations, fired, logits.double())


def sites_of(anatomy: Anatomy) -> Iterator[Site]:
    """Every site that an anatomy speaks of."""
    for block in anatomy.blocks:
        streams = (block.resid_pre, block.resid_mid, block.resid_post)
        writes: list[Write] = [write for write in streams if write is not None]
        for sublayer in block.sublayers:
            writes.append(sublayer.write)
            finer = [part for part in (sublayer.heads, sublayer.neurons) if part is not None]
            writes += [write for part in finer for write in part.writes()]
        yield from (site for write in writes for site in write.reads)
    yield from (site for write in anatomy.embeddings for site in write.reads)
    unembedding = anatomy.unembedding
    yield from (unembedding.normalised, unembedding.logits)
    if unembedding.norm is not None:
        yield unembedding.norm.scale
