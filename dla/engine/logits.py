"""The model's own logits where they are asked about, and what else is measured at its readout.

A reader runs the query's model in its own way: with all logits at once, some positions at a time, or (in `sampling`) a
sample of them. Whichever it is, the logits that it reports never use the rows.
"""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters.base import Observer
from dla.adapters.watching import in_slices, merged_observers
from dla.engine.answers import ModelAnswers, answers_at
from dla.engine.columns import check_columns
from dla.engine.query import Query
from dla.engine.readout import DirectionAtReadout
from dla.writes import lost_in
from dla.writes.sites import Site


@final
@dataclass(frozen=True, eq=False)
class Readings:
    """What one run gave at the readout.

    Attributes:
        logit: The model's own answer before its output transform.
        output_logit: The model's own answer after it; NaN where only a run could tell it.
        magnitude: How large the numbers are that cancel in the answer; the model's rounding is a multiple of this.
        lost: What the readout itself rounds away, in logits; None where that is not seen.
        scale: The final norm's scale; None where there is no norm.
        stream: What enters the final norm; None where there is no norm.
        sketch: By what the stream that is unembedded is known again; see `sketch_of`.
        answers: What the model says there; None where that is not asked.
    """

    logit: Float[Tensor, "direction batch query"]
    output_logit: Float[Tensor, "direction batch query"]
    magnitude: Float[Tensor, "direction batch query"]
    lost: Float[Tensor, "direction batch query"] | None
    scale: Float[Tensor, "batch query"] | None
    stream: Float[Tensor, "batch query d_model"] | None
    sketch: Float[Tensor, "batch query five"]
    answers: ModelAnswers | None = None


@final
@dataclass(frozen=True, eq=False)
class WeighedLogits:
    """The logits that are asked about, weighed, at some of the positions.

    Attributes:
        logit: Their sum before the output transform.
        output_logit: Their sum after it.
        size: `Σ |weighted logit|`.
        lost: What the readout rounds away; None where that is not seen.
    """

    logit: Float[Tensor, "direction batch some"]
    output_logit: Float[Tensor, "direction batch some"]
    size: Float[Tensor, "direction batch some"]
    lost: Float[Tensor, "direction batch some"] | None

    @staticmethod
    def joined(several: Sequence["WeighedLogits"]) -> "WeighedLogits":
        """Those of slices of the positions, in order."""
        lost = [one.lost for one in several if one.lost is not None]
        return WeighedLogits(
            torch.cat([one.logit for one in several], -1),
            torch.cat([one.output_logit for one in several], -1),
            torch.cat([one.size for one in several], -1),
            torch.cat(lost, -1) if lost else None,
        )


class LogitReader(abc.ABC):
    """A way to run a query's model that sees its logits where they are asked about.

    Law: the logits come from what the model computed, whatever observers see of its rows.
    """

    @abc.abstractmethod
    def run(self, observers: Mapping[str, Observer]) -> Readings:
        """One run, with other observers by hook name."""


@final
class AllLogits(LogitReader):
    """Sees the logits at all positions that are asked about, at once."""

    def __init__(self, query: Query, directions: Sequence[DirectionAtReadout], *, proving: bool = False) -> None:
        """Runs nothing yet.

        Args:
            query: What is asked.
            directions: Its directions.
            proving: Whether to prove that the columns of `W_U` give these logits.
        """
        self._query, self._directions, self._proving = query, directions, proving

    def run(self, observers: Mapping[str, Observer]) -> Readings:
        watched = ReadoutWatch(self._query, self._directions, self._proving)
        return watched.readings(self._query.watch([observers, watched.observers()]))


@final
class SlicedLogits(LogitReader):
    """Sees the logits of a few positions at a time, and keeps none: a tensor `[batch pos d_vocab]` never exists."""

    def __init__(
        self, query: Query, directions: Sequence[DirectionAtReadout], width: int, *, proving: bool = False
    ) -> None:
        """Runs nothing yet.

        Args:
            query: What is asked; of a model whose unembedding is a module that nobody hooks.
            directions: Its directions.
            width: How many positions are unembedded at a time.
            proving: Whether to prove that the columns of `W_U` give these logits.
        """
        self._query, self._directions, self._width, self._proving = query, directions, width, proving

    def run(self, observers: Mapping[str, Observer]) -> Readings:
        query, watched = self._query, ReadoutWatch(self._query, self._directions, self._proving)
        module = query.unembedding.module
        assert module is not None
        with in_slices(module, query.positions.index, self._width):
            query.model.run(query.prompts.tokens, merged_observers([observers, watched.observers()]), None)
        return watched.readings(None)


@final
class NormWatch:
    """What is seen between the last block and what is unembedded: the final norm's scale, and what it rounds away."""

    def __init__(self, query: Query) -> None:
        """Sees nothing yet."""
        self._unembedding, self._select = query.unembedding, query.select
        self._last = None if self._unembedding.norm is None else query.model.anatomy.blocks[-1].resid_post
        self._arrived: dict[Site, Tensor] = {}

    def observers(self) -> dict[str, Observer]:
        """What to call with activations, by hook name."""
        norm, rounding = self._unembedding.norm, self._unembedding.rounding
        sites = [*(() if norm is None else (norm.scale,)), *(() if self._last is None else self._last.reads)]
        sites += [] if rounding is None else rounding.normalised.reads
        return merged_observers([{site.name: partial(self._keep, site)} for site in dict.fromkeys(sites)])

    def scale(self) -> Float[Tensor, "batch query"] | None:
        """The final norm's scale; None where there is no norm."""
        norm = self._unembedding.norm
        return None if norm is None else self._arrived[norm.scale]

    def stream(self) -> Float[Tensor, "batch query d_model"] | None:
        """What enters the final norm; None where there is no norm."""
        return None if self._last is None else self._last.vectors(self._arrived)[0]

    def lost(self, stream: Float[Tensor, "batch some d_model"], start: int = 0) -> Tensor | None:
        """What rounding took from the stream that is unembedded, from a position on; None where that is not seen."""
        rounding = self._unembedding.rounding
        if rounding is None:
            return None
        here = slice(start, start + stream.shape[1])
        return lost_in(rounding.normalised.at({site: x[:, here] for site, x in self._arrived.items()}), stream)

    def _keep(self, site: Site, activation: Tensor) -> None:
        self._arrived[site] = self._select(site, activation).to(self._unembedding.W_U.device)


@final
class ReadoutWatch:
    """What is seen at the readout in one run; where it unembeds slices of the positions, slice by slice, in order."""

    def __init__(self, query: Query, directions: Sequence[DirectionAtReadout], proving: bool) -> None:
        """Sees nothing yet.

        Args:
            query: What is asked.
            directions: Its directions.
            proving: Whether to prove that the columns of `W_U` give the logits that are seen.
        """
        self._query, self._directions, self._proving = query, directions, proving
        self._unembedding, self._select = query.unembedding, query.select
        self._norm = NormWatch(query)
        self._streams: list[Tensor] = []
        self._weighed: list[WeighedLogits] = []
        self._answers: list[ModelAnswers] = []

    def observers(self) -> dict[str, Observer]:
        """What to call with activations, by hook name."""
        ends = {self._unembedding.normalised.name: self._see_stream, self._unembedding.logits.name: self._see_logits}
        return merged_observers([self._norm.observers(), ends])

    def readings(self, logits: Float[Tensor, "batch query d_vocab"] | None) -> Readings:
        """All that was seen, once the run is over.

        Args:
            logits: What the model returned; None where it was not run, or returned only some.
        """
        seen = WeighedLogits.joined(self._weighed)
        if logits is not None:
            rows = self._select.rows_of(logits, 1)
            seen = replace(seen, output_logit=each_of(self._directions, lambda direction: direction.weigh(rows)))
        read = readings_of(self._query, self._directions, self._norm, torch.cat(self._streams, 1), seen)
        return replace(read, answers=ModelAnswers.joined(self._answers))

    def _see_stream(self, normalised: Tensor) -> None:
        stream = self._select(self._unembedding.normalised, normalised).to(self._unembedding.W_U.device)
        self._streams.append(stream)

    def _see_logits(self, logits: Tensor) -> None:
        logits, start = self._select.rows_of(logits, 1), sum(seen.logit.shape[-1] for seen in self._weighed)
        transform, stream = self._unembedding.transform, self._streams[-1]
        if self._proving:
            check_columns(self._query, self._directions, stream, logits, start + torch.arange(logits.shape[1]))
        said = answers_at(self._query, logits, start)
        self._answers += [] if said is None else [said]
        each, lost = partial(each_of, self._directions), self._norm.lost(stream, start)
        own = each(lambda one: one.weigh(logits, start))
        self._weighed.append(
            WeighedLogits(
                logit=own,
                output_logit=own * torch.nan
                if transform is None
                else each(lambda one: one.weigh(logits, start, transform)),
                size=each(lambda one: one.weigh(logits, start, torch.abs, torch.abs)),
                lost=None
                if lost is None
                else each(lambda one: one.lost_in_norm(lost, start) + one.lost_in_logits(stream, logits, start)),
            )
        )


def each_of(
    directions: Sequence[DirectionAtReadout], of: Callable[[DirectionAtReadout], Float[Tensor, "*some"]]
) -> Float[Tensor, "direction *some"]:
    """Something of each direction."""
    return torch.stack([of(direction) for direction in directions])


def readings_of(
    query: Query,
    directions: Sequence[DirectionAtReadout],
    norm: NormWatch,
    stream: Float[Tensor, "batch query d_model"],
    weighed: WeighedLogits,
) -> Readings:
    """The readings of a run, from what was seen of single logits and of the stream that is unembedded.

    Args:
        query: What was asked.
        directions: Its directions.
        norm: What was seen at the final norm.
        stream: What was unembedded.
        weighed: The logits asked about.
    """
    shape = query.positions.index.shape
    beside = each_of(directions, lambda one: one.read_beside_logits(stream).expand(shape))
    spread = each_of(directions, lambda one: (one.spread(stream) + one.constant().abs()).expand(shape))
    return Readings(
        logit=weighed.logit + beside,
        output_logit=weighed.output_logit + beside,
        magnitude=weighed.size + spread,
        lost=weighed.lost,
        scale=norm.scale(),
        stream=norm.stream(),
        sketch=sketch_of(stream),
    )


def sketch_of(stream: Float[Tensor, "batch query d_model"]) -> Float[Tensor, "batch query five"]:
    """A few numbers that another run's stream would hardly share: its length, and four fixed random projections."""
    d_model = stream.shape[-1]
    generator = torch.Generator(device="cpu").manual_seed(d_model)
    signs: Int[Tensor, "d_model four"] = torch.randint(2, (d_model, 4), generator=generator, device="cpu") * 2 - 1
    return torch.cat([stream.norm(dim=-1, keepdim=True), stream @ (signs.to(stream) / d_model**0.5)], -1)
