"""One run of a model through its adapter, with the activations at the sites that are asked for."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from dla.adapters.anatomy import Anatomy
from dla.adapters.base import ModelAdapter
from dla.engine.activations import PositionSelector
from dla.inputs.positions import read_positions
from dla.inputs.prompts import read_prompts
from dla.testing.differences import difference, largest
from dla.tolerances import MODULE_TOLERANCE
from dla.writes import Write
from dla.writes.sites import Site

_LARGE = 2**25
"""How many numbers the vectors of a sum may hold; a larger sum is compared in a few random directions only."""


@final
@dataclass(frozen=True, eq=False)
class ObservedRun:
    """What the hooks of a model showed in one run.

    Attributes:
        adapter: Of the model.
        tokens: What it ran on.
        activations: At each site, from the last time that its hook fired, at all positions.
        fired: How often each site's hook fired.
        logits: What the model returned.
        raw: What each hook showed, by its name, as the model has it.
    """

    adapter: ModelAdapter
    tokens: Int[Tensor, "batch pos"]
    activations: dict[Site, Shaped[Tensor, "..."]]
    fired: dict[str, int]
    logits: Float[Tensor, "batch pos d_vocab"]
    raw: dict[str, Shaped[Tensor, "..."]]

    @property
    def anatomy(self) -> Anatomy:
        """What the adapter says of the model."""
        return self.adapter.anatomy

    @property
    def slack(self) -> float:
        """The rounding that the model's dtype excuses, relative to the largest entry."""
        return MODULE_TOLERANCE.get(self.anatomy.unembedding.W_U.dtype, max(MODULE_TOLERANCE.values()))

    def problem_of_sum(
        self, found: Sequence[Write], wanted: Sequence[Write], given: Sequence[Write] = ()
    ) -> str | None:
        """What is wrong where `Σ given + Σ found` should equal `Σ wanted`; None if nothing is.

        Args:
            found: The writes that are checked.
            wanted: Those whose sum is known to be right.
            given: Those that are in the sum already, such as the stream before a block.
        """
        directions = self._directions(max(len(write.labels) for write in (*found, *wanted, *given)))
        left = [self._summed(write, directions) for write in found]
        right = [self._summed(write, directions) for write in wanted]
        right += [-self._summed(write, directions) for write in given]
        total = torch.stack(right).sum(0)
        together = torch.stack(left).sum(0) if left else torch.zeros_like(total)
        return difference(together, total, largest(*left, *right), self.slack)

    def vector(self, write: Write) -> Float[Tensor, "batch pos d_model"]:
        """The sum of a write's parts."""
        return self._summed(write, None)

    def problem_of(self, found: Float[Tensor, "batch pos d"], wanted: Float[Tensor, "batch pos d"]) -> str | None:
        """What is wrong with a tensor, which should be another; None if nothing is."""
        return difference(found, wanted, largest(found, wanted), self.slack)

    def _summed(
        self, write: Write, directions: Float[Tensor, "direction 1 1 d_model"] | None
    ) -> Float[Tensor, "batch pos _"]:
        """The sum of a write's parts, `[batch pos d_model]`, or what a few directions read of it."""
        if directions is None:
            total = write.vectors(self.activations).double().sum(0)
        else:
            total = write.contract(self.activations, directions).sum(-3).movedim(0, -1)
        return total.expand(*self.tokens.shape, -1)

    def _directions(self, parts: int) -> Float[Tensor, "direction 1 1 d_model"] | None:
        """None if there is room for all vectors; a real model has too many neurons for that."""
        W_U = self.anatomy.unembedding.W_U
        width = W_U.shape[0]
        if parts * self.tokens.numel() * width <= _LARGE:
            return None
        count = max(4, min(64, _LARGE // (parts * self.tokens.numel())))
        generator = torch.Generator().manual_seed(0)
        directions = torch.randn(count, 1, 1, width, generator=generator, dtype=torch.float64)
        return directions.to(W_U.device) / math.sqrt(width)


def observe_run(
    adapter: ModelAdapter,
    tokens: Int[Tensor, "batch pos"],
    sites: Iterable[Site] | None = None,
    dtype: torch.dtype = torch.float64,
) -> ObservedRun:
    """Runs the model once, and keeps what its hooks show at some sites.

    Args:
        adapter: Of the model.
        tokens: Prompts of one length.
        sites: Where to look; every site of its anatomy if None.
        dtype: What activations are kept in, where they are not finer.

    Raises:
        Exception: Whatever the adapter raises for a hook name that it does not know.
    """
    everywhere = read_positions(None, read_prompts(tokens, adapter.vocabulary))
    select = PositionSelector(everywhere, tokens.shape[1], dtype)
    by_name: dict[str, list[Site]] = {}
    for site in dict.fromkeys(sites_of(adapter.anatomy) if sites is None else sites):
        by_name.setdefault(site.name, []).append(site)
    activations: dict[Site, Tensor] = {}
    raw: dict[str, Tensor] = {}
    fired = dict.fromkeys(by_name, 0)

    def observer(name: str) -> Callable[[Tensor], None]:
        def observe(activation: Shaped[Tensor, "..."]) -> None:
            fired[name] += 1
            raw[name] = activation.detach().clone()
            for site in by_name[name]:
                activations[site] = select(site, activation.detach().clone())

        return observe

    logits = adapter.run(tokens, {name: observer(name) for name in by_name}, None)
    return ObservedRun(adapter, tokens, activations, fired, logits.double(), raw)


def sites_of(anatomy: Anatomy) -> Iterator[Site]:
    """Every site that an anatomy speaks of."""
    for block in anatomy.blocks:
        streams = (block.resid_pre, block.resid_mid, block.resid_post)
        writes: list[Write] = [write for write in streams if write is not None]
        for sublayer in block.sublayers:
            finer = [part for part in (sublayer.heads, sublayer.neurons, sublayer.experts) if part is not None]
            writes += [sublayer.write, *(write for part in finer for write in part.writes())]
            for site, route in sublayer.outputs:
                yield from (site, *route.reads)
            if sublayer.heads is not None and sublayer.heads.values is not None:
                yield from (sublayer.heads.values.pattern, sublayer.heads.values.v)
        yield from (site for write in writes for site in write.reads)
    yield from (site for write in anatomy.embeddings for site in write.reads)
    unembedding = anatomy.unembedding
    yield from (unembedding.normalised, unembedding.logits)
    if unembedding.norm is not None:
        yield unembedding.norm.scale
