"""What of a sublayer a site shows, and how a direction on it is pulled back to what the sublayer read.

A row is linear in what its sublayers made (`z`, values, activations, an output), so the direction on these is the
gradient of the row. That holds for every kind of row: a head, its row of one source, a neuron, a whole sublayer, a sum.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from dla.adapters.anatomy import Heads, Mixture, Neurons, Sublayer
from dla.adapters.base import ModelAdapter
from dla.adapters.reads import ExpertReads, HeadReads, ModelReads, NeuronReads, StreamEntry, SublayerReads
from dla.engine.frozen import FrozenRun
from dla.engine.pull_back import (
    PulledBack,
    from_outputs,
    from_post,
    from_values,
    through_route,
    to_outputs,
    to_post,
    to_values,
    to_z,
)
from dla.engine.rules import Rule, rule_for
from dla.engine.shown import NotTraced, Shown
from dla.errors import UnsupportedModelError
from dla.writes import ExpertWrites, FullOutput, Site
from dla.writes.routes import Route


@final
@dataclass(frozen=True, eq=False)
class ShownZ(Shown):
    """`z` of attention heads."""

    name: str
    heads: Heads
    reads: HeadReads

    @property
    def entry(self) -> StreamEntry:
        return self.reads.entry

    @property
    def sites(self) -> Sequence[Site]:
        assert self.heads.values is not None
        return [*self.entry.reads, self.heads.values.pattern, self.heads.values.v]

    def pulled_back(
        self, direction: Float[Tensor, "batch pos head d_head"], rule: Rule | None, run: FrozenRun
    ) -> PulledBack:
        return from_values(to_values(direction, self.heads, run), self.heads, self.reads, run)


@final
@dataclass(frozen=True, eq=False)
class ShownValues(Shown):
    """The values of attention heads, without their bias: what a row of one source is made of."""

    name: str
    heads: Heads
    reads: HeadReads

    @property
    def entry(self) -> StreamEntry:
        return self.reads.entry

    @property
    def sites(self) -> Sequence[Site]:
        assert self.heads.values is not None
        return [*self.entry.reads, self.heads.values.v]

    def pulled_back(
        self, direction: Float[Tensor, "batch pos group d_head"], rule: Rule | None, run: FrozenRun
    ) -> PulledBack:
        return from_values(direction, self.heads, self.reads, run, without_bias=True)


@final
@dataclass(frozen=True, eq=False)
class ShownActivations(Shown):
    """The activations of an MLP's neurons."""

    name: str
    neurons: Neurons
    reads: NeuronReads

    @property
    def entry(self) -> StreamEntry:
        return self.reads.entry

    @property
    def sites(self) -> Sequence[Site]:
        return [*self.entry.reads, self.neurons.post, *self.reads.sites]

    def pulled_back(
        self, direction: Float[Tensor, "batch pos neuron"], rule: Rule | None, run: FrozenRun
    ) -> PulledBack:
        fitting = rule_for(rule, self.reads.up is not None, self.name)
        return from_post(direction, self.neurons, self.reads, fitting, run)


@final
@dataclass(frozen=True, eq=False)
class ShownExperts(Shown):
    """What the experts of each token put out, `[batch pos slot d_model]`; how the router weighs them is frozen."""

    name: str
    mixture: Mixture
    reads: ExpertReads

    @property
    def entry(self) -> StreamEntry:
        return self.reads.entry

    @property
    def sites(self) -> Sequence[Site]:
        return [*self.entry.reads, *self.mixture.experts.reads]

    def pulled_back(
        self, direction: Float[Tensor, "batch pos slot d_model"], rule: Rule | None, run: FrozenRun
    ) -> PulledBack:
        fitting = rule_for(rule, self.reads.gated, self.name)
        return from_outputs(direction, self.mixture.experts, self.reads, fitting, run)


_Inner = ShownZ | ShownActivations | ShownExperts


@final
@dataclass(frozen=True, eq=False)
class ShownOutput(Shown):
    """All that a sublayer adds to the stream, with its biases, which count where they are written.

    Attributes:
        inner: What the heads, neurons or experts are.
        route: From what the site shows to the final stream.
    """

    name: str
    inner: _Inner
    route: Route

    @property
    def entry(self) -> StreamEntry:
        return self.inner.entry

    @property
    def sites(self) -> Sequence[Site]:
        return [*self.inner.sites, *(site for write in self._pieces.biases() for site in write.reads), *self._norm]

    @property
    def _pieces(self) -> Heads | Neurons | Mixture:
        inner = self.inner
        if isinstance(inner, ShownExperts):
            return inner.mixture
        return inner.heads if isinstance(inner, ShownZ) else inner.neurons

    @property
    def _norm(self) -> tuple[Site, ...]:
        return self._pieces.route.reads

    def pulled_back(
        self, direction: Float[Tensor, "batch pos d_model"], rule: Rule | None, run: FrozenRun
    ) -> PulledBack:
        stream = direction if self.route.multiplier == 1.0 else direction / self.route.multiplier
        output = through_route(stream, self._pieces.route, run)
        pulled = self.inner.pulled_back(_on_pieces(output, self._pieces, run), rule, run)
        for write in self._pieces.biases():
            pulled = pulled.plus(write.contract(run, stream).sum(-3))
        return pulled


def _on_pieces(
    output: Float[Tensor, "batch pos d_model"], pieces: Heads | Neurons | Mixture, run: FrozenRun
) -> Float[Tensor, "batch pos *made"]:
    """A direction on a sublayer's output, as one on what makes it."""
    if isinstance(pieces, Heads):
        return to_z(output, pieces)
    return to_post(output, pieces) if isinstance(pieces, Neurons) else to_outputs(output, pieces.experts, run)


def reads_of(model: ModelAdapter) -> ModelReads:
    """What the sublayers of a model read.

    Raises:
        UnsupportedModelError: If the adapter does not say.
    """
    reads = model.reads
    if reads is None:
        raise UnsupportedModelError(
            f"The adapter of {model.anatomy.name} does not say what its sublayers read, so nothing can be traced. "
            "Adapt a model of TransformerLens, or give the adapter `reads`."
        )
    return reads


def shown_experts(write: ExpertWrites, model: ModelAdapter) -> Shown:
    """What the experts of a mixture put out.

    Raises:
        UnsupportedModelError: If the adapter does not say what sublayers read.
    """
    for block, of_block in zip(model.anatomy.blocks, reads_of(model), strict=False):  # the model may end earlier
        for sublayer, read in zip(block.sublayers, of_block, strict=False):
            if sublayer.experts is not None and sublayer.experts.experts.x == write.x:
                return _inner(sublayer, read)
    return NotTraced(str(write.labels[0]), "its mixture is none of the model's")


def shown_by_site(model: ModelAdapter) -> dict[Site, Shown]:
    """What each site shows of the model's sublayers.

    Raises:
        UnsupportedModelError: If the adapter does not say what sublayers read.
    """
    return {
        site: shown
        for block, of_block in zip(model.anatomy.blocks, reads_of(model), strict=False)  # the model may end earlier
        for sublayer, read in zip(block.sublayers, of_block, strict=False)
        for site, shown in _shown(sublayer, read)
    }


def whole_output(sublayer: Sublayer, reads: SublayerReads) -> Shown:
    """All that a sublayer adds to the stream, in the units of the final stream."""
    name, inner = str(sublayer.write.labels[0]), _inner(sublayer, reads)
    return inner if isinstance(inner, NotTraced) else ShownOutput(name, inner, Route())


def _inner(sublayer: Sublayer, reads: SublayerReads) -> _Inner | NotTraced:
    name = str(sublayer.write.labels[0])
    if isinstance(reads, str):
        return NotTraced(name, reads)
    if isinstance(reads, HeadReads):
        assert sublayer.heads is not None
        return ShownZ(name, sublayer.heads, reads)
    if isinstance(reads, ExpertReads):
        assert sublayer.experts is not None
        return ShownExperts(name, sublayer.experts, reads)
    assert sublayer.neurons is not None
    return ShownActivations(name, sublayer.neurons, reads)


def _shown(sublayer: Sublayer, reads: SublayerReads) -> Iterator[tuple[Site, Shown]]:
    inner, heads = _inner(sublayer, reads), sublayer.heads
    outputs = [*sublayer.outputs]
    if isinstance(sublayer.write, FullOutput):
        outputs.append((sublayer.write.site, sublayer.write.route))
    for site, route in outputs:
        if isinstance(inner, NotTraced):
            yield site, inner
        elif route.norm is None:
            yield site, ShownOutput(inner.name, inner, route)
    if heads is not None:
        yield heads.z, inner
        if heads.values is not None:
            of_values = ShownValues(inner.name, heads, reads) if isinstance(reads, HeadReads) else inner
            yield heads.values.v, of_values
    if sublayer.neurons is not None:
        yield sublayer.neurons.post, inner
