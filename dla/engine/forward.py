"""One pass: a plan, a direction and prompts go in, one number a part comes out, beside what the model itself says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.anatomy import Unembedding
from dla.adapters.base import ModelAdapter, Observer
from dla.adapters.user_hooks import is_readout_hooked
from dla.adapters.watching import in_slices
from dla.decomposers.base import RowKind
from dla.decomposers.plans import Plan, Rows, room_for
from dla.directions import ResolvedDirection, one_place
from dla.engine.autocast import autocast_on, refuse_autocast
from dla.engine.contraction import Contraction, PositionSelector, merged, replay
from dla.engine.logits import LogitReader
from dla.engine.sampling import can_sample, run_in_sample
from dla.inputs.prompts import Positions, Prompts
from dla.labels import ROUNDING, Label

TOLERANCE = 8.0
"""How many rounding units, of the size of the numbers that cancel, the parts may miss the logit by.

`Attribution.tolerance` is in these units: `gap / tolerance` is far below 1 on the catalogue's architectures.
"""


SLICE_ON_CPU, SLICE_ELSEWHERE = 2**25, 2**28
"""How many bytes of logits are made at a time. On a CPU, what the C library hands out again without asking."""

_AT_A_TIME = 2048
"""How many parts are added in the precision of the values before the sums are added in float64."""


@final
@dataclass(frozen=True, eq=False)
class Query:
    """What is asked, settled: prompts, positions, and the directions resolved.

    Attributes:
        prompts: The prompts.
        positions: The positions asked about.
        resolved: One a direction.
        cache: An `ActivationCache` to use instead of running, or None.
    """

    prompts: Prompts
    positions: Positions
    resolved: tuple[ResolvedDirection, ...]
    cache: Any = None

    @property
    def at(self) -> str | None:
        """The place in the stream that is read; None for the model's readout."""
        return one_place(self.resolved)

    @property
    def batched(self) -> bool:
        """Whether there is a batch axis; a cache may lack it."""
        return self.cache is None or bool(self.cache.has_batch_dim)


@final
@dataclass(frozen=True, eq=False)
class ForwardResult:
    """What one pass gave, with all its axes.

    Attributes:
        labels: One a part.
        values: The contribution of each part, in logits.
        constant: `β · W_U + b_U`.
        lost: What the readout itself rounds away, in logits; None where that is not seen (see `with_readout`).
        logit: The model's own answer before its output transform.
        output_logit: The model's own answer after it.
        magnitude: How large the numbers are that cancel in the answer.
        scale: The final norm's scale; None where there is no norm.
        sketch: By what the stream that is unembedded is known again.
        eps: The model's rounding unit.
    """

    labels: Sequence[Label]
    values: Float[Tensor, "part direction batch query"]
    constant: Float[Tensor, "direction batch query"]
    lost: Float[Tensor, "direction batch query"] | None
    logit: Float[Tensor, "direction batch query"]
    output_logit: Float[Tensor, "direction batch query"]
    magnitude: Float[Tensor, "direction batch query"]
    scale: Float[Tensor, "batch query"] | None
    sketch: Float[Tensor, "batch query five"]
    eps: float

    def total(self, row_kind: RowKind) -> Float[Tensor, "direction batch query"]:
        """What the parts come to, as the row_kind says, summed in float64."""
        return total_of(self.values, row_kind)

    def with_readout(self, row_kind: RowKind) -> "ForwardResult":
        """With what the readout rounds away: in the row of all rounding; in the constant, where rows do not add up."""
        if self.lost is None:
            return self
        if row_kind is not RowKind.ADDITIVE:
            return replace(self, constant=self.constant + self.lost, lost=None)
        labels, values = with_rounding(self.labels), self.values
        if len(labels) > len(self.labels):
            values = torch.cat([values, torch.zeros_like(values[:1])])
        values[labels.index(Label(ROUNDING))] += self.lost
        return replace(self, labels=labels, values=values, lost=None)

    def tolerance(self, row_kind: RowKind) -> Float[Tensor, "direction batch query"]:
        """`TOLERANCE * eps * (Σ|part| + |constant| + Σ|weighted logit| + |direction| · rms(normalised stream))`.

        And the smallest normal number: below it, what is rounded away is no multiple of what is there.
        """
        parts = [torch.linalg.vector_norm(some, 1, 0) for some in self.values.split(_AT_A_TIME)]
        size = torch.stack(parts).sum(0) if row_kind is RowKind.ADDITIVE else self.values.abs().amax(0)
        return TOLERANCE * self.eps * (size + self.magnitude) + torch.finfo(size.dtype).tiny


def with_rounding(labels: Sequence[Label]) -> list[Label]:
    """Labels with that of what is rounded away among them."""
    rounding = Label(ROUNDING)
    return list(labels) if rounding in labels else [*labels, rounding]


def total_of(values: Float[Tensor, "part *more"], row_kind: RowKind) -> Float[Tensor, "*more"]:
    """What the parts come to: their sum, or the last row."""
    if row_kind is not RowKind.ADDITIVE:
        return values[-1]
    partial = [some.sum(0).double() for some in values.split(_AT_A_TIME)]
    total: Tensor = torch.stack(partial).sum(0)
    return total.to(values)


@torch.no_grad()
def run_pass(
    model: ModelAdapter, plan: Plan, query: Query, row_kind: RowKind = RowKind.ADDITIVE, sampled: bool = False
) -> ForwardResult:
    """Runs the model once, or goes over a cache, without gradients.

    Args:
        model: The model.
        plan: What to read of it.
        query: What is asked.
        row_kind: What the rows are. Those of a lens are on scales of their own, all others on the final norm's.
        sampled: Whether the model may unembed a sample of the positions only; see `Attributor`.

    Raises:
        ReconstructionError: If, on the sample, the columns of `W_U` are not the model's own logits.
        ValueError: If autocast would round what is computed.
    """
    refuse_autocast(autocast_on(), model.anatomy.unembedding.W_U.device)
    shape, select = query.positions.index.shape, selection(model, query)
    questions = questions_of(model, query, select)
    directions = directions_of(questions)
    steps = plan.steps(query.prompts)
    labels = plan.labels_of(steps)
    into = None if labels is None else room_for(len(labels), directions.new_empty(0, len(questions), *shape))
    names = [site.name for step in steps for site in step.write.reads]
    contraction = Contraction(steps, directions, select, plan.places(steps, into))
    logits = None
    if sampled and query.cache is None and can_sample(model, query.positions, query.resolved):
        run_in_sample(model, query.prompts.tokens, query.positions.index, contraction.observers(), questions)
    elif width := _slice_width(model, query):
        _run_in_slices(model, query, [contraction.observers(), *(q.observers() for q in questions)], width)
    else:
        logits = watch(model, query, [contraction.observers(), *(q.observers() for q in questions)])
    parts, scale = contraction.rows(*shape), questions[0].scale()
    rows = plan.merged(parts) if labels is None or into is None else Rows(labels, into)

    each = partial(_of_each, questions, shape)
    return ForwardResult(
        labels=rows.labels,
        values=rows.values if scale is None or row_kind is RowKind.LENS else rows.values.div_(scale),
        constant=each(LogitReader.constant),
        lost=None if model.anatomy.unembedding.rounding is None else each(LogitReader.lost),
        logit=each(LogitReader.answer),
        output_logit=each(lambda question: question.transformed_answer(logits)),
        magnitude=each(LogitReader.magnitude),
        scale=scale,
        sketch=questions[0].sketch(),
        eps=max(model.anatomy.eps, _unit_of(query.cache, names, model)),
    )


def _of_each(
    questions: Sequence[LogitReader], shape: torch.Size, told: Callable[[LogitReader], Tensor]
) -> Float[Tensor, "direction batch query"]:
    return torch.stack([told(question).expand(shape) for question in questions])


@torch.no_grad()
def answers_of(model: ModelAdapter, query: Query) -> Float[Tensor, "batch query d_vocab"]:
    """The logits that the model returns at the positions asked about."""
    unembedding = model.anatomy.unembedding
    select, seen = selection(model, query), [torch.empty(0)]

    def keep(logits: Tensor) -> None:
        rows = select.rows_of(logits, 1)
        seen[0] = rows if query.cache is None else _transformed(rows, unembedding)

    logits = watch(model, query, [{unembedding.logits.name: keep}])
    return (seen[0] if logits is None else select.rows_of(logits, 1)).to(select.dtype)


def questions_of(model: ModelAdapter, query: Query, select: PositionSelector) -> list[LogitReader]:
    """What is asked, at the model's readout."""
    return [LogitReader(one, model.anatomy.unembedding, select) for one in query.resolved]


def directions_of(questions: Sequence[LogitReader]) -> Float[Tensor, "direction #batch #pos d_model"]:
    """What reads the stream before the final norm, up to its scale; size-1 axes where it is the same for all."""
    return torch.stack(torch.broadcast_tensors(*(question.direction() for question in questions)))


def selection(model: ModelAdapter, query: Query) -> PositionSelector:
    """Takes the positions that are asked about out of activations."""
    width, positions = query.prompts.tokens.shape[1], query.positions
    dtype = torch.promote_types(model.anatomy.unembedding.W_U.dtype, torch.float32)
    return PositionSelector(positions.index, width, positions.everything, dtype)


def _unit_of(cache: Any, names: Sequence[str], model: ModelAdapter) -> float:
    """The rounding unit of a cache that was kept in a coarser dtype than the model has; 0 for any other."""
    if cache is None:
        return 0.0
    read = (cache[name].dtype for name in (*names, model.anatomy.unembedding.normalised.name))
    unit = max(torch.finfo(dtype).eps for dtype in read if dtype.is_floating_point)
    return unit if unit > torch.finfo(model.anatomy.dtype).eps else 0.0


def _slice_width(model: ModelAdapter, query: Query) -> int:
    """How many positions are unembedded at a time; 0 where all are, because they are few or there is no other way."""
    unembedding, (batch, kept) = model.anatomy.unembedding, query.positions.index.shape
    W_U, most = unembedding.W_U, query.prompts.tokens.shape[1]
    if query.cache is not None or unembedding.module is None or unembedding.transform is None or kept > most:
        return 0
    if is_readout_hooked(model, unembedding.module):
        return 0
    room = SLICE_ON_CPU if W_U.device.type == "cpu" else SLICE_ELSEWHERE
    width = max(1, room // (batch * W_U.shape[1] * W_U.element_size()))
    return width if width < kept else 0


def _run_in_slices(model: ModelAdapter, query: Query, observers: Sequence[Mapping[str, Observer]], width: int) -> None:
    """Runs the model; the logits are seen a slice at a time, and none are kept."""
    module = model.anatomy.unembedding.module
    assert module is not None
    with in_slices(module, query.positions.index, width):
        model.run(query.prompts.tokens, merged(observers), None)


def watch(model: ModelAdapter, query: Query, observers: Sequence[Mapping[str, Observer]]) -> Tensor | None:
    """Runs the model, or goes over the cache, and calls all observers; gives the logits if the model was run."""
    observe = merged(observers)
    if query.cache is not None:
        replay(query.cache, observe)
        return None
    index = query.positions.index
    return model.run(query.prompts.tokens, observe, index if index.shape[1] < query.prompts.tokens.shape[1] else None)


def _transformed(logits: Tensor, unembedding: Unembedding) -> Tensor:
    if unembedding.transform is None:
        raise ValueError(
            "What is asked depends on the logits that the model returns, and how they follow from those in the cache "
            "is not known. Pass the prompts and leave the cache out."
        )
    return unembedding.transform(logits)
