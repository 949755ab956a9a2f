"""What the logit really loses without a part, and who makes up for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from jaxtyping import Float
from rich.console import Console, ConsoleOptions
from rich.table import Table
from torch import Tensor

from dla.inputs.given import Count, count
from dla.labels import Label
from dla.results.attributed import AttributedRows
from dla.results.attribution_table import mean_by_row
from dla.results.label_index import LabelIndex, OneLabel
from dla.results.tables import TablePerDirection
from dla.text import shortened
from dla.views.dataset import frame_of, frame_of_columns
from dla.views.document import asked, document, ranked_rows, rows_written, strict_json
from dla.views.grid import Grid, Line, printed, signed
from dla.views.plots.scatter import effects_scatter

if TYPE_CHECKING:
    import pandas
    import xarray

NORM = Label("norm", text="the final norm")
"""The row of what the final norm's scale adds to a repair."""

_SHOWN = 20  # rows of a printed table
_REPAIRERS = 5  # of them in JSON
_NAMED = 2  # rows that repaired most, in each line of it


@final
@dataclass(frozen=True, eq=False)
class Repair:
    """Who makes up for a part that is taken away: what each other row writes then, beyond what it wrote.

    Attributes:
        part: The part that is taken away.
        rows: The labels of the others, and of the final norm.
        values: How much each gives back, in logits; together they are what is repaired.
        total: What is repaired: the direct effect minus the measured one.
    """

    part: str
    rows: tuple[Label, ...]
    values: Float[Tensor, "row *direction_batch_and_pos"]
    total: Float[Tensor, "*direction_batch_and_pos"]

    @property
    def labels(self) -> list[str]:
        """The labels as text."""
        return [str(row) for row in self.rows]

    def top(self, k: Count = 5) -> list[tuple[str, float]]:
        """The `k` rows that give back or take away most, on average over directions, prompts and positions."""
        means = _means(self.values)
        best = means.abs().argsort(descending=True, stable=True)[: count(k, "k", "rows", least=0)].tolist()
        return [(self.labels[i], float(means[i])) for i in best]

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row for each label, largest first: label, repair (the mean over directions, prompts and positions)."""
        rows = self.top(len(self.rows))
        return frame_of_columns({"label": [label for label, _ in rows], "repair": [value for _, value in rows]})

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        yield self._grid().rich(options.max_width)

    def __str__(self) -> str:
        return printed(self)

    def __repr__(self) -> str:
        return f"Repair(of {self.part!r}: {signed(float(_means(self.total[None])))} by {len(self.rows)} rows)"

    def _repr_html_(self) -> str:
        return self._grid().html()

    def _grid(self) -> Grid:
        lines = tuple(Line(label, (signed(value),), value) for label, value in self.top(_SHOWN))
        total = (Line("repaired", (signed(float(_means(self.total[None]))),)),)
        return Grid(f"Who makes up for {self.part}", ("logits",), (lines, total))


@final
@dataclass(frozen=True, eq=False)
class Effects(TablePerDirection):
    """What the logit loses in runs of the model without a part, next to what the part contributes.

    All tensors are in logits and have the axes of the attribution's `values`.

    Attributes:
        attribution: The parts that were taken away, and what they contribute.
        direct_effects: What the logit loses if nothing else reacts but the final norm.
        measured_effects: What it loses in a run without the part: later parts read another stream.
        repairs: What each row of that run writes beyond what it wrote, with the final norm's share as the last.
        rows: The labels of those rows.
        tolerance: How far rounding may have moved an effect.
        ablation: What stood in the place of the parts.
        at: "asked": they were taken away at the positions that were asked about; "all": at all.
    """

    attribution: AttributedRows
    direct_effects: Float[Tensor, "part *direction_batch_and_pos"]
    measured_effects: Float[Tensor, "part *direction_batch_and_pos"]
    repairs: Float[Tensor, "part row *direction_batch_and_pos"]
    rows: tuple[Label, ...]
    tolerance: Float[Tensor, "part *direction_batch_and_pos"]
    ablation: str
    at: str

    @property
    def labels(self) -> list[str]:
        """The labels of the parts."""
        return self.attribution.labels

    @property
    def values(self) -> Float[Tensor, "part *direction_batch_and_pos"]:
        """What each part contributes."""
        return self.attribution.values

    @property
    def repaired(self) -> Float[Tensor, "part *direction_batch_and_pos"]:
        """`direct_effects - measured_effects`: what other parts and the final norm give back.

        Where the part is taken away at all positions, that holds also what was read of it elsewhere.
        """
        return self.direct_effects - self.measured_effects

    def repair(self, label: OneLabel) -> Repair:
        """Who makes up for one of the parts.

        Raises:
            TypeError: If it is no label.
            ValueError: If there is no such part.
        """
        i = LabelIndex(self.labels)(label)
        return Repair(self.labels[i], self.rows, self.repairs[i], self.repaired[i])

    @property
    def directions(self) -> list[str]:
        """The names of the directions, if several were asked for."""
        return self.attribution.directions

    def direction(self, name: str) -> "Effects":
        """The effects on one of several directions.

        Raises:
            ValueError: If none has that name.
        """
        one, i = self.attribution.direction(name), self.attribution.directions.index(name)
        effects, measured, tolerance = (t[:, i] for t in (self.direct_effects, self.measured_effects, self.tolerance))
        return Effects(one, effects, measured, self.repairs[:, :, i], self.rows, tolerance, self.ablation, self.at)

    def to_xarray(self) -> "xarray.Dataset":
        """The parts' dataset, with the variables `direct_effect`, `measured_effect` and `repaired`."""
        data = self.attribution.to_xarray()
        dims = data["values"].dims
        added = {"direct_effect": self.direct_effects, "measured_effect": self.measured_effects}
        variables: dict[str, Any] = {name: (dims, t.detach().cpu().numpy()) for name, t in added.items()}
        return data.assign(variables | {"repaired": (dims, self.repaired.detach().cpu().numpy())})

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row for each part, direction, prompt and position.

        The columns label, value, direct_effect, measured_effect, repaired, and those of `Attribution.to_dataframe`.
        """
        frame = frame_of(self.to_xarray(), ["values", "direct_effect", "measured_effect", "repaired"])
        return frame.rename(columns={"part": "label"})

    def to_json(self, top: Count | None = None) -> str:
        """The effects as strict JSON, the strongest parts first; see `Attribution.to_json`.

        Args:
            top: How many parts; None for all, and one row for the rest.

        Raises:
            TypeError: If `top` is not a whole number.
            ValueError: If it is negative.
        """
        shown, provenance = rows_written(top), self.attribution.provenance
        several = [self.direction(name) for name in self.directions] or [self]
        rows = [one._ranked(shown) for one in several]
        about = {**asked(provenance), "ablation": self.ablation, "at": self.at}
        return strict_json(document("effects", **about, directions=rows))

    def plot(self) -> Any:
        """Direct against measured effects, a point a part, as a figure of plotly.

        Raises:
            MissingPackageError: If plotly is not installed.
            ValueError: If several directions were asked for.
        """
        return effects_scatter(self._grid(0).title, self.to_dataframe().rename(columns={"label": "part"}))

    def __repr__(self) -> str:
        provenance = self.attribution.provenance
        return f"Effects({shortened(provenance.direction)}, {self.ablation}, at={self.at!r}: {len(self.labels)} parts)"

    def _ranked(self, shown: int | None) -> dict[str, Any]:
        tensors = {
            "value": self.values,
            "direct_effect": self.direct_effects,
            "measured_effect": self.measured_effects,
            "repaired": self.repaired,
            "tolerance": self.tolerance,
        }
        columns = {name: mean_by_row(self.attribution, tensor).tolist() for name, tensor in tensors.items()}

        def by(i: int) -> dict[str, Any]:
            found = self.repair(self.labels[i]).top(_REPAIRERS)
            return {"repaired_by": [{"part": label, "value": value} for label, value in found]}

        rows = ranked_rows(self.attribution.parts, columns, "value", shown, by)
        return {"direction": self.attribution.provenance.direction, **rows}

    def _grid(self, shown: int) -> Grid:
        tensors = (self.values, self.direct_effects, self.measured_effects, self.repaired)
        numbers = torch.stack([mean_by_row(self.attribution, tensor) for tensor in tensors], -1)
        order = numbers[:, 0].abs().argsort(descending=True, stable=True)[:shown].tolist()
        lines = tuple(Line(self.labels[i], (*map(signed, numbers[i].tolist()), self._repairers(i))) for i in order)
        provenance, where = self.attribution.provenance, "where asked" if self.at == "asked" else "everywhere"
        return Grid(
            f"{provenance.direction}: runs without each part ({self.ablation}, {where})",
            ("value", "direct", "measured", "repaired", "most by"),
            (lines,),
            note="direct: if only the final norm reacted; measured: in the run; repaired: what others give back. "
            f"Rounding moves none by more than {float(self.tolerance.nan_to_num().max()):.1e}.",
            words=("most by",),
        )

    def _repairers(self, i: int) -> str:
        return ", ".join(f"{label} {value:+.2f}" for label, value in self.repair(self.labels[i]).top(_NAMED))


def _means(values: Float[Tensor, "row *more"]) -> Float[Tensor, " row"]:
    return values.reshape(len(values), -1).to(torch.float64).nanmean(-1)


def names_of(parts: Sequence[Label]) -> str:
    """How several parts that are taken away together are called."""
    return " + ".join(map(str, parts))
