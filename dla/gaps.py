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
from dla.decomposers.base import Law
from dla.labels import Label
from dla.passes import Asked, run_pass
from dla.plans import Plan
from dla.views.table import number


@final
@dataclass(frozen=True)
class GapRow:
    """One stretch of the stream, averaged over nothing: the prompt with the largest gap there.

    Attributes:
        place: "embeddings", "block 3", or "no layer" for parts whose label names none.
        measured: What the direction reads of the stream's growth there, in logits.
        parts: What the parts labelled with that place come to.
        allowed: The largest difference that rounding explains.
    """

    place: str
    measured: float
    parts: float
    allowed: float

    @property
    def gap(self) -> float:
        """`measured - parts`."""
        return self.measured - self.parts

    @property
    def within(self) -> bool:
        """Whether the gap is rounding."""
        return abs(self.gap) <= self.allowed


@final
@dataclass(frozen=True)
class GapReport:
    """What `Attributor.explain_gap` found; prints as a table."""

    rows: tuple[GapRow, ...]

    def first(self) -> GapRow | None:
        """The first place where the parts miss the stream; None if they miss it nowhere."""
        return next((row for row in self.rows if not row.within), None)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        table = Table(title="What the stream gained, and what the parts say", title_justify="left")
        for column in ("place", "measured", "parts", "gap", ""):
            table.add_column(column, justify="left" if column in ("place", "") else "right")
        for row in self.rows:
            mark = "" if row.within else "[red]← misses[/red]"
            table.add_row(row.place, number(row.measured), number(row.parts), number(row.gap), mark)
        yield table

    def __str__(self) -> str:
        console = Console(width=100, no_color=True, highlight=False)
        with console.capture() as capture:
            console.print(self)
        return capture.get()


def explain(model: ModelAdapter, plan: Plan, asked: Asked, law: Law) -> GapReport:
    """Compares the parts of each layer with what the measured stream gained in it.

    Args:
        model: The model.
        plan: The parts; those without a layer are taken to be written before the first block.
        asked: One direction, at one position.
        law: What the rows of the plan are.

    Raises:
        ValueError: If they are those of a lens.
    """
    if law is Law.LENS:
        raise ValueError("The rows of a lens do not add up, so there is no gap to explain.")
    blocks = model.anatomy.blocks
    streams = (blocks[0].resid_pre, *(block.resid_post for block in blocks))
    places = Plan("the stream", tuple(replace(s, label=Label("place", i)) for i, s in enumerate(streams)))
    run, measured = run_pass(model, plan, asked), run_pass(model, places, asked)
    labels, values = run.labels, run.values[:, 0]
    if law is Law.TRAJECTORY:
        labels, values = _steps_of(labels, values)
    return _report(labels, values, measured.values[:, 0], run.tolerance(Law.TRAJECTORY)[0])


def _steps_of(
    labels: Sequence[Label], values: Float[Tensor, "part batch kept"]
) -> tuple[Sequence[Label], Float[Tensor, "part batch kept"]]:
    """The rows of a trajectory as what was added between them: each step belongs to the layer it starts in."""
    return (Label("embed"), *labels[:-1]), torch.cat([values[:1], values.diff(dim=0)])


def _report(
    labels: Sequence[Label],
    values: Float[Tensor, "part batch kept"],
    streams: Float[Tensor, "place batch kept"],
    tolerance: Float[Tensor, "batch kept"],
) -> GapReport:
    gained = torch.cat([streams[:1], streams.diff(dim=0)])
    rows = []
    for place in range(len(gained)):
        layer = place - 1 if place else None
        of_layer = [i for i, label in enumerate(labels) if label.layer == layer]
        parts = values[of_layer].sum(0)
        worst = int((gained[place] - parts).abs().argmax())
        measured, told = float(gained[place].flatten()[worst]), float(parts.flatten()[worst])
        name = f"block {layer}" if place else "embeddings"
        rows.append(GapRow(name, measured, told, float(tolerance.flatten()[worst])))
    return GapReport(tuple(rows))
