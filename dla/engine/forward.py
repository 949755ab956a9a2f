"""One forward pass: a query goes in, and one number for each row comes out, next to what the model itself says."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.base import ModelAdapter, Observer
from dla.adapters.turns import turn_on
from dla.adapters.user_hooks import is_readout_hooked
from dla.adapters.watching import merged_observers
from dla.decomposers.rows import RowKind, Rows, room_for
from dla.engine.answers import ModelAnswers
from dla.engine.autocast import autocast_on, refuse_autocast
from dla.engine.contraction import Contraction
from dla.engine.logits import AllLogits, LogitReader, SlicedLogits, each_of
from dla.engine.query import Query
from dla.engine.readout import DirectionAtReadout
from dla.engine.sampling import SampledLogits, can_sample
from dla.labels import ROUNDING, Label
from dla.tolerances import TOLERANCE

SLICE_ON_CPU, SLICE_ELSEWHERE = 2**25, 2**28
"""How many bytes of logits are made at a time. On a CPU, what the C library hands out again without asking."""

_AT_A_TIME = 2048
"""How many rows are added in the precision of the values before the sums are added in float64."""


class Unembed(enum.Enum):
    """How much a model unembeds of the positions that are asked about."""

    ALL = "all"
    """All of them: each logit is what the model's own module made."""

    PROOF = "proof"
    """All of them, and the columns of `W_U` are proven to give each of these logits."""

    SAMPLE = "sample"
    """A sample, on which the columns are proven; elsewhere the logits are what the columns give."""


@final
@dataclass(frozen=True, eq=False)
class ForwardResult:
    """What one pass gave, with all its axes.

    Attributes:
        labels: One for each row.
        values: The contribution of each, in logits.
        constant: `β · W_U + b_U`.
        lost: What the readout itself rounds away, in logits; None where that is not seen (see `with_readout`).
        logit: The model's own answer before its output transform.
        output_logit: The model's own answer after it.
        magnitude: How large the numbers are that cancel in the answer.
        scale: The final norm's scale; None where there is no norm.
        stream: What enters the final norm; None where there is no norm.
        sketch: By what the stream that is unembedded is known again.
        eps: The model's rounding unit.
        row_kind: What the rows have to do with the total.
        answers: What the model says where it is asked; None where that is not looked at.
    """

    labels: Sequence[Label]
    values: Float[Tensor, "part direction batch query"]
    constant: Float[Tensor, "direction batch query"]
    lost: Float[Tensor, "direction batch query"] | None
    logit: Float[Tensor, "direction batch query"]
    output_logit: Float[Tensor, "direction batch query"]
    magnitude: Float[Tensor, "direction batch query"]
    scale: Float[Tensor, "batch query"] | None
    stream: Float[Tensor, "batch query d_model"] | None
    sketch: Float[Tensor, "batch query five"]
    eps: float
    row_kind: RowKind
    answers: ModelAnswers | None = None

    @property
    def total(self) -> Float[Tensor, "direction batch query"]:
        """The sum of the rows, in float64; of rows that do not add up, the last."""
        return total_of(self.values, self.row_kind)

    @property
    def gap(self) -> Float[Tensor, "direction batch query"]:
        """What the rows and the constant miss the model's own answer by."""
        return self.logit - (self.total + self.constant)

    @property
    def tolerance(self) -> Float[Tensor, "direction batch query"]:
        """`TOLERANCE * eps * (Σ|row| + |constant| + Σ|weighted logit| + |direction| · rms(normalised stream))`.

        And the smallest normal number: below it, what is rounded away is no multiple of what is there.
        """
        rows = [torch.linalg.vector_norm(some, 1, 0) for some in self.values.split(_AT_A_TIME)]
        size = torch.stack(rows).sum(0) if self.row_kind is RowKind.ADDITIVE else self.values.abs().amax(0)
        return TOLERANCE * self.eps * (size + self.magnitude) + torch.finfo(size.dtype).tiny

    def with_readout(self) -> "ForwardResult":
        """With what the readout rounds away: in the row of all rounding; in the constant, where rows do not add up."""
        if self.lost is None:
            return self
        if self.row_kind is not RowKind.ADDITIVE:
            return replace(self, constant=self.constant + self.lost, lost=None)
        labels, values, lost = self.labels, self.values, Label(ROUNDING)
        # Backwards, since it is nearly always the last, and there may be 100,000 labels before it.
        place = next(
            (i for i in reversed(range(len(labels))) if labels[i].kind == ROUNDING and labels[i] == lost), None
        )
        if place is None:
            place, labels = len(labels), [*labels, lost]
            values = torch.cat([values, torch.zeros_like(values[:1])])
        values[place] += self.lost
        return replace(self, labels=labels, values=values, lost=None)


def total_of(values: Float[Tensor, "part *more"], row_kind: RowKind) -> Float[Tensor, "*more"]:
    """The sum of the rows, or the last row."""
    if row_kind is not RowKind.ADDITIVE:
        return values[-1]
    partial = [some.sum(0).double() for some in values.split(_AT_A_TIME)]
    total: Tensor = torch.stack(partial).sum(0)
    return total.to(values)


@torch.no_grad()
def forward(
    query: Query, *, unembed: Unembed = Unembed.ALL, also: Mapping[str, Observer] | None = None
) -> ForwardResult:
    """Runs the model once, or goes over a cache, without gradients.

    Args:
        query: What is asked. Rows of a lens are on scales of their own, all others on the final norm's.
        unembed: How much the model unembeds of what is asked.
        also: More observers of the same run, by hook name.

    Raises:
        ReconstructionError: If, where it is proven, the columns of `W_U` are not the model's own logits.
        ValueError: If autocast would round what is computed.
    """
    refuse_autocast(autocast_on(), query.unembedding.W_U.device)
    shape, plan = query.positions.index.shape, query.plan
    directions = directions_of(query)
    reads = before_norm(directions)
    steps = plan.steps(query.prompts)
    labels = plan.labels_of(steps)
    into = None if labels is None else room_for(len(labels), reads.new_empty(0, len(directions), *shape))
    contraction = Contraction(steps, reads, query.select, plan.places(steps, into))
    with turn_on(query.model.source):
        observers = merged_observers([contraction.observers(), also or {}])
        readings = logit_reader_of(query, directions, unembed).run(observers)
    parts = contraction.rows(*shape)
    rows = plan.merged(parts) if labels is None or into is None else Rows(labels, into)
    scale, names = readings.scale, [site.name for step in steps for site in step.write.reads]
    return ForwardResult(
        labels=rows.labels,
        values=rows.values if scale is None or plan.row_kind is RowKind.LENS else rows.values.div_(scale),
        constant=each_of(directions, lambda direction: direction.constant().expand(shape)),
        lost=readings.lost,
        logit=readings.logit,
        output_logit=readings.output_logit,
        magnitude=readings.magnitude,
        scale=scale,
        stream=readings.stream,
        sketch=readings.sketch,
        eps=max(query.model.anatomy.eps, _unit_of(query.cache, names, query.model)),
        row_kind=plan.row_kind,
        answers=readings.answers,
    )


def directions_of(query: Query) -> list[DirectionAtReadout]:
    """The query's directions, at the model's readout."""
    return [DirectionAtReadout(one, query.unembedding, query.select.dtype) for one in query.resolved]


def before_norm(directions: Sequence[DirectionAtReadout]) -> Float[Tensor, "direction #batch #pos d_model"]:
    """What reads the stream before the final norm, up to its scale; size-1 axes where it is the same for all."""
    return torch.stack(torch.broadcast_tensors(*(direction.before_norm() for direction in directions)))


def logit_reader_of(query: Query, directions: Sequence[DirectionAtReadout], unembed: Unembed) -> LogitReader:
    """The reader that sees a query's logits with the least memory.

    Args:
        query: What is asked.
        directions: Its directions.
        unembed: How much the model unembeds.
    """
    columns, width = unembed is not Unembed.ALL and can_sample(query), _slice_width(query)
    if columns and unembed is Unembed.SAMPLE:
        return SampledLogits(query, directions)
    return (
        SlicedLogits(query, directions, width, proving=columns)
        if width
        else AllLogits(query, directions, proving=columns)
    )


def _slice_width(query: Query) -> int:
    """How many positions are unembedded at a time; 0 where all are, because they are few or there is no other way."""
    unembedding, (batch, asked) = query.unembedding, query.positions.index.shape
    W_U, most = unembedding.W_U, query.prompts.tokens.shape[1]
    if query.cache is not None or unembedding.module is None or unembedding.transform is None or asked > most:
        return 0
    if is_readout_hooked(query.model, unembedding.module):
        return 0
    room = SLICE_ON_CPU if W_U.device.type == "cpu" else SLICE_ELSEWHERE
    width = max(1, room // (batch * W_U.shape[1] * W_U.element_size()))
    return width if width < asked else 0


def _unit_of(cache: Any, names: Sequence[str], model: ModelAdapter) -> float:
    """The rounding unit of a cache that was kept in a coarser dtype than the model has; 0 for any other."""
    if cache is None:
        return 0.0
    read = (cache[name].dtype for name in (*names, model.anatomy.unembedding.normalised.name))
    unit = max(torch.finfo(dtype).eps for dtype in read if dtype.is_floating_point)
    return unit if unit > torch.finfo(model.anatomy.dtype).eps else 0.0
