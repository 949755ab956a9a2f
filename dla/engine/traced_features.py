"""What a dictionary reads and explains, and how a direction on its features is pulled back to the stream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

from jaxtyping import Float
from torch import Tensor

from dla.adapters.base import ModelAdapter
from dla.adapters.reads import ExpertReads, HeadReads, NeuronReads, StreamEntry
from dla.engine.frozen import FrozenRun
from dla.engine.pull_back import PulledBack
from dla.engine.rules import Rule
from dla.engine.shown import NotTraced, Shown
from dla.engine.traced import (
    ShownActivations,
    ShownExperts,
    ShownOutput,
    ShownValues,
    ShownZ,
    reads_of,
    shown_by_site,
    shown_experts,
)
from dla.errors import UnsupportedModelError
from dla.writes import ExpertWrites, Features, Site, Write
from dla.writes.dictionaries.encoder import encoder_of

Key = Site | Write
"""What a row is linear in: what a site shows, or what a write makes of what sites show."""


@final
@dataclass(frozen=True, eq=False)
class ShownStream(Shown):
    """The stream itself, or what a norm makes of it.

    Attributes:
        read: The place, and the norm.
        site: What shows it.
    """

    name: str
    read: StreamEntry
    site: Site

    @property
    def entry(self) -> StreamEntry:
        return self.read

    @property
    def sites(self) -> Sequence[Site]:
        return [*self.entry.reads, self.site]

    def pulled_back(
        self, direction: Float[Tensor, "batch pos d_model"], rule: Rule | None, run: FrozenRun
    ) -> PulledBack:
        entered = run[self.site]
        return PulledBack(
            self.entry.pull_back(direction, run),
            self.entry.constant(direction),
            (direction * entered).sum(-1),
            direction.norm(dim=-1) * entered.norm(dim=-1),
        )


@final
@dataclass(frozen=True, eq=False)
class Reshaped(Shown):
    """The same as something else that is shown, with other axes after the position.

    Attributes:
        inner: What is shown.
        site: The site that shows it.
    """

    name: str
    inner: Shown
    site: Site

    @property
    def entry(self) -> StreamEntry:
        return self.inner.entry

    @property
    def sites(self) -> Sequence[Site]:
        return [*self.inner.sites, self.site]

    def pulled_back(self, direction: Float[Tensor, "batch pos *made"], rule: Rule | None, run: FrozenRun) -> PulledBack:
        return self.inner.pulled_back(direction.reshape(run[self.site].shape), rule, run)


@final
@dataclass(frozen=True, eq=False)
class ShownFeatures(Shown):
    """The features of a dictionary, where each is there; how its input is normalised is frozen.

    Attributes:
        inner: What the dictionary reads.
        write: The features.
    """

    name: str
    inner: Shown
    write: Features

    @property
    def entry(self) -> StreamEntry:
        return self.inner.entry

    @property
    def sites(self) -> Sequence[Site]:
        return [*self.inner.sites, self.write.read]

    def pulled_back(
        self, direction: Float[Tensor, "batch pos feature"], rule: Rule | None, run: FrozenRun
    ) -> PulledBack:
        x = run[self.write.read]
        encoder = encoder_of(self.write.dictionary, x)
        if encoder is None:
            raise UnsupportedModelError(
                f"{self.name} cannot be traced: its features are not what it reads times a matrix `W_enc`, plus a "
                "bias, where they are not 0. Trace the sublayer."
            )
        pulled = self.inner.pulled_back(encoder.pull_back(direction).reshape(x.shape), rule, run)
        constant = encoder.constant(direction)
        size = pulled.size + ((direction * encoder.factor).abs() * encoder.size).sum(-1)
        measured = (direction * self.write.made(run)).sum(-1)
        if moves(self.inner):  # what is read of other positions is measured there
            measured = pulled.measured + constant
        return replace(pulled, constant=pulled.constant + constant, measured=measured, size=size)


def innermost(shown: Shown) -> Shown:
    """What something that is shown is made of in the end: heads, neurons, experts, a stream."""
    return innermost(shown.inner) if isinstance(shown, ShownOutput | Reshaped | ShownFeatures) else shown


def moves(shown: Shown) -> bool:
    """Whether other positions are read."""
    return isinstance(innermost(shown), ShownZ | ShownValues)


def gated(shown: Shown) -> bool | None:
    """Whether something is made by a gated MLP; None if it is made by none."""
    inner = innermost(shown)
    if isinstance(inner, ShownExperts):
        return inner.reads.gated
    return inner.reads.up is not None if isinstance(inner, ShownActivations) else None


def shown_of(write: Write, model: ModelAdapter, by_site: dict[Site, Shown] | None = None) -> dict[Key, Shown]:
    """What the parts of a write are linear in.

    Args:
        write: The write.
        model: The model.
        by_site: What each site shows of the model's sublayers, if it is known.

    Raises:
        UnsupportedModelError: If the adapter does not say what sublayers read.
    """
    by_site = shown_by_site(model) if by_site is None else by_site
    if isinstance(write, ExpertWrites):
        return {write: shown_experts(write, model)}
    if isinstance(write, Features):
        read, written = (_at(site, model, by_site) for site in (write.read, write.written))
        name = f"The dictionary of {write.dictionary.writes!r}"
        features = read if isinstance(read, NotTraced) else ShownFeatures(name, read, write)
        return {write: features, write.read: read, write.written: written}
    return {site: by_site[site] for site in write.reads if site in by_site}


def _at(site: Site, model: ModelAdapter, by_site: dict[Site, Shown]) -> Shown:
    """What a dictionary reads or explains."""
    if site in by_site:
        return by_site[site]
    for own, shown in by_site.items():
        if own.name == site.name:
            return Reshaped(shown.name, shown, own)
    found = next((entry for entry in _entries(model, site.name)), None)
    if found is None:
        return NotTraced(
            f"What the hook {site.name!r} shows", "it is not known to be the stream, or a sublayer's input or output"
        )
    return ShownStream(site.name, found, site)


def _entries(model: ModelAdapter, name: str) -> Iterator[StreamEntry]:
    """The place of the stream that a hook shows, and the norm that it has passed there."""
    for block, of_block in zip(model.anatomy.blocks, reads_of(model), strict=False):  # the model may end earlier
        for stream in (block.resid_pre, block.resid_mid, block.resid_post):
            if stream is not None and stream.site.name == name:
                yield StreamEntry(stream, None)
        for reads in of_block:
            if isinstance(reads, HeadReads | NeuronReads | ExpertReads) and name in reads.entry.shown_at:
                yield StreamEntry(reads.entry.stream, reads.entry.shown_at[name])
