"""Where a sum goes wrong: the gap between the parts and the stream, block by block."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from rich.console import Console, ConsoleOptions
from rich.table import Table
from torch import Tensor

from dla.adapters.base import ModelAdapter
from dla.adapters.hooks_by_block import hooks_at_readout, hooks_at_start, hooks_between, hooks_in_block
from dla.adapters.stops import Stretch
from dla.adapters.turns import turn_on
from dla.adapters.user_hooks import UserHook, user_hooks, without_user_hooks
from dla.decomposers.plans import Plan
from dla.decomposers.rows import RowKind
from dla.edits.rows import EDIT
from dla.engine.forward import forward
from dla.engine.query import Query
from dla.labels import Label
from dla.views.grid import Grid, printed, signed
from dla.writes import FullOutput

_TITLE = "What the stream gained, and what the parts say"
_COLUMNS = ("place", "measured", "parts", "gap", "")


@final
@dataclass(frozen=True)
class GapRow:
    """One stretch of the stream, averaged over nothing: the prompt with the largest gap there.

    Attributes:
        place: "embeddings", "block 3", or "between block 2 and block 3", where no part writes.
        measured: What the direction reads of the stream's growth there, in logits.
        parts: What the parts labelled with that place come to.
        allowed: The largest difference that rounding explains.
        hooks: The hooks of the user's there.
        written: Whether parts write there; between two blocks none do.
    """

    place: str
    measured: float
    parts: float
    allowed: float
    hooks: tuple[str, ...] = ()
    written: bool = True

    @property
    def gap(self) -> float:
        """`measured - parts`."""
        return self.measured - self.parts

    @property
    def within(self) -> bool:
        """Whether the gap is rounding."""
        return abs(self.gap) <= self.allowed


def _mark(row: GapRow) -> str:
    hooked = f"; hooked: {', '.join(row.hooks)}" if row.hooks else ""
    return "" if row.within else f"← misses{hooked}"


@final
@dataclass(frozen=True)
class GapReport:
    """What `Attributor.explain_gap` found; prints as a table."""

    rows: tuple[GapRow, ...]

    def first(self) -> GapRow | None:
        """The first place where the parts miss the stream; None if they miss it nowhere."""
        return next((row for row in self.rows if not row.within), None)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        yield self._grid().rich(options.max_width)

    def __str__(self) -> str:
        return printed(self)

    def __repr__(self) -> str:
        first = self.first()
        found = "no gap beyond rounding" if first is None else f"first gap in {first.place}: {signed(first.gap)}"
        return f"GapReport({len(self.rows)} places, {found})"

    def _repr_html_(self) -> str:
        return self._grid().html()

    def _grid(self) -> Grid:
        rows = [(row.place, signed(row.measured), signed(row.parts), signed(row.gap), _mark(row)) for row in self.rows]
        return Grid.of_rows(_TITLE, _COLUMNS, rows, words=[""])


def explain(query: Query) -> GapReport:
    """Compares the parts of each layer with what the measured stream gained in it.

    Args:
        query: One direction, at one position or several. Rows without a layer are taken to be written before the first
            block.

    Raises:
        ValueError: If they are those of a lens.
    """
    plan = query.plan
    if plan.row_kind is RowKind.LENS:
        raise ValueError("The rows of a lens do not add up, so there is no gap to explain.")
    stretches = _stretches(query.model, () if query.cache is not None else user_hooks(query.model), plan.row_kind)
    streams = [replace(stretch.end, label=Label("place", i)) for i, stretch in enumerate(stretches)]
    plans = replace(plan, rounding_by_step=True), Plan("the stream", tuple(streams))
    run, measured = (forward(replace(query, plan=each)) for each in plans)
    labels, values = run.labels, run.values[:, 0]
    if plan.row_kind is RowKind.CUMULATIVE:
        labels, values = _steps_of(labels, values)
    gained = torch.cat([measured.values[:1, 0], measured.values[:, 0].diff(dim=0)])
    tolerance = replace(run, row_kind=RowKind.CUMULATIVE).tolerance[0]
    rows = [_row(place, change, labels, values, tolerance) for place, change in zip(stretches, gained, strict=True)]
    return GapReport(tuple(row for row in rows if row.written or not row.within))


def edits_by_hooks(query: Query) -> str:
    """Which hooks of the user's edit the run outside the rows that were read of it, as sentences; "" for none.

    Args:
        query: One direction, which the rows of its plan miss.
    """
    model, first = query.model, None
    if query.cache is not None:
        first = _first_gap(query)
        known = first is not None and not first.written
        return f"The stream in the cache changes {first.place}: a hook edited its run." if first and known else ""
    hooks = user_hooks(model)
    if not hooks or not _adds_up_without_hooks(query):
        return ""
    first = _first_gap(query)
    if first is None:
        place, there = "at the readout", tuple(map(str, hooks_at_readout(hooks, model)))
    else:
        place, there = f"in {first.place}" if first.written else first.place, first.hooks
    culprits = f"hooked there: {', '.join(there)}" if there else f"hooked: {', '.join(map(str, hooks))}"
    return (
        f"Without your hooks they do not. It goes wrong {place}; {culprits}. What a hook changes beside the parts, or "
        f"after they were read, is none of them. Take it off, or edit what is itself a part{_such_as(model)}, with a "
        "decomposer that reads it there."
    )


def _first_gap(query: Query) -> GapRow | None:
    return None if query.plan.row_kind is RowKind.LENS else explain(query).first()


def _adds_up_without_hooks(query: Query) -> bool:
    try:
        with turn_on(query.model.source), without_user_hooks(query.model):
            run = forward(query).with_readout()
    except RuntimeError:  # it does not even run: the hooks are a part of the model
        return False
    return bool((run.gap.abs() <= run.tolerance)[:, query.positions.valid.to(run.gap.device)].all())


def _such_as(model: ModelAdapter) -> str:
    outputs = [
        site.name for layer in range(model.n_layers) for s in model.block(layer).sublayers for site, _ in s.outputs
    ]
    return f", such as {outputs[-1]!r}" if outputs else ""


@final
@dataclass(frozen=True, eq=False)
class _Stretch:
    """The stream up to a place.

    Attributes:
        place: Its name.
        end: The stream at its end.
        layer: The layer that the parts written there name.
        written: Whether parts write there; else the stream must stay what it was.
        hooks: The hooks of the user's on the way.
        edits: The layers and stretches of the rows of what hooks and edits add there.
    """

    place: str
    end: FullOutput
    layer: int | None
    written: bool
    hooks: Sequence[UserHook]
    edits: Sequence[tuple[int, Stretch]] = ()

    def holds(self, label: Label) -> bool:
        """Whether a part is written there."""
        if label.kind == EDIT:
            return (label.layer, label.index) in self.edits
        return self.written and label.layer == self.layer


def _stretches(model: ModelAdapter, hooks: Sequence[UserHook], row_kind: RowKind) -> list[_Stretch]:
    """Through the embeddings, the blocks, and what lies between them, where a step of cumulative rows passes, too."""
    blocks = model.anatomy.blocks
    start, entering = hooks_at_start(hooks, model), Stretch.ENTERING
    found = [_Stretch("embeddings", blocks[0].resid_pre, None, True, start, [(0, entering)])]
    for i, block in enumerate(blocks):
        inside, next_ = hooks_in_block(hooks, i, model), i + 1
        onward = None if next_ == len(blocks) else blocks[next_].resid_pre
        after = [] if onward is None else hooks_between(hooks, i, model)
        if onward is not None and row_kind is RowKind.CUMULATIVE:
            found.append(_Stretch(f"block {i}", onward, i, True, [*inside, *after]))
            continue
        found.append(_Stretch(f"block {i}", block.resid_post, i, True, inside, [(i, Stretch.INSIDE)]))
        if onward is not None:
            edits = [(i, Stretch.AFTER), (next_, entering)]
            found.append(_Stretch(f"between block {i} and block {next_}", onward, None, False, after, edits))
    return found


def _steps_of(
    labels: Sequence[Label], values: Float[Tensor, "part batch query"]
) -> tuple[Sequence[Label], Float[Tensor, "part batch query"]]:
    """Cumulative rows as what was added between them: each step belongs to the layer it starts in."""
    return (Label("embed"), *labels[:-1]), torch.cat([values[:1], values.diff(dim=0)])


def _row(
    stretch: _Stretch,
    gained: Float[Tensor, "batch query"],
    labels: Sequence[Label],
    values: Float[Tensor, "part batch query"],
    tolerance: Float[Tensor, "batch query"],
) -> GapRow:
    there = [i for i, label in enumerate(labels) if stretch.holds(label)]
    parts = values[there].sum(0)
    worst = int((gained - parts).abs().argmax())
    measured, told, allowed = (float(tensor.flatten()[worst]) for tensor in (gained, parts, tolerance))
    return GapRow(stretch.place, measured, told, allowed, tuple(map(str, stretch.hooks)), stretch.written)
