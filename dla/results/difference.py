"""Two attributions side by side: their rows by label, and why they differ."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.inputs.arguments import file_path
from dla.inputs.given import Count, count
from dla.labels import Label
from dla.results.alignment import check_comparable, rows_of_both
from dla.results.attributed import AttributedRows
from dla.results.attribution_table import is_transformed, mean_by_row, of_answers
from dla.results.crossing import crossed_values
from dla.results.tables import TablePerDirection
from dla.text import shortened, some_of
from dla.views.compared import COMPARED, compared_lines
from dla.views.dataset import DIFFERENCE_FORMAT, frame_of, to_dataset
from dla.views.document import asked, document, ranked_rows, rows_written, strict_json
from dla.views.endings import NETCDF, check_target
from dla.views.files import write_dataset
from dla.views.grid import Grid
from dla.views.plots.beside import BY_SIGN, difference_bars

if TYPE_CHECKING:
    import pandas
    import xarray

_SPLIT = ("written", "read")


@final
@dataclass(frozen=True, eq=False)
class Difference(TablePerDirection):
    """What one attribution has more than another, row by row: `first - second`. A row that one lacks is 0 there.

    All tensors are in logits and have the axes of the attributions' `values`.

    Attributes:
        first: One attribution.
        second: The other.
        parts: The labels of the rows of either, those of the first in front.
        left: The first's values.
        right: The second's values.
        written: What the rows differ by because other vectors are written, read in the first's direction; None before
            `split`.
    """

    first: AttributedRows
    second: AttributedRows
    parts: tuple[Label, ...]
    left: Float[Tensor, "part *direction_batch_and_pos"]
    right: Float[Tensor, "part *direction_batch_and_pos"]
    written: Float[Tensor, "part *direction_batch_and_pos"] | None = None

    @staticmethod
    def of(first: AttributedRows, second: AttributedRows) -> "Difference":
        """The difference of two attributions.

        Raises:
            ValueError: If they have other axes, directions by other names, rows of another kind, or no part in common.
        """
        check_comparable(first, second)
        parts, left, right = rows_of_both(first, second)
        return Difference(first, second, parts, left, right)

    @property
    def labels(self) -> list[str]:
        """The labels as text."""
        return [str(part) for part in self.parts]

    @property
    def values(self) -> Float[Tensor, "part *direction_batch_and_pos"]:
        """The differences, the first minus the second."""
        return self.left - self.right

    @property
    def logit(self) -> Float[Tensor, "*direction_batch_and_pos"]:
        """The difference of the models' own logits."""
        return self.first.logit - self.second.logit

    @property
    def gap(self) -> Float[Tensor, "*direction_batch_and_pos"]:
        """What the differences of rows and constants miss that by."""
        return self.first.gap - self.second.gap

    @property
    def read(self) -> Float[Tensor, "part *direction_batch_and_pos"] | None:
        """What the rows differ by because the same vectors are read in another direction; None before `split`."""
        return None if self.written is None else self.values - self.written

    def split(self) -> "Difference":
        """The same, with each difference split into `written` and `read`; runs the second model once more.

        `d̂ · c - d̂' · c' = d̂ · (c - c') + (d̂ - d̂') · c'`, with the parts' vectors `c` and `c'` and the directions `d̂`
        and `d̂'`, each divided by the scale of its own final norm.

        Raises:
            RunChangedError: If a model does not run any more as it ran for its result.
            ValueError: If a result was read from a file, the streams differ in width, or rows do not add up.
        """
        crossed = crossed_values(self.first, self.second, self.parts)
        return replace(self, written=self.left - crossed)

    @property
    def directions(self) -> list[str]:
        """The names of the directions, if several were asked for."""
        return self.first.directions

    def direction(self, name: str) -> "Difference":
        """The difference in one of several directions.

        Raises:
            ValueError: If none has that name.
        """
        first, second, i = self.first.direction(name), self.second.direction(name), self.directions.index(name)
        written = None if self.written is None else self.written[:, i]
        return Difference(first, second, self.parts, self.left[:, i], self.right[:, i], written)

    def top(self, k: Count = 5) -> list[tuple[str, float]]:
        """The `k` rows that differ most, of either sign, on average over prompts and positions.

        Raises:
            TypeError: If `k` is not a whole number.
            ValueError: If `k` is negative, or several directions were asked for.
        """
        means = mean_by_row(self.first, self.values)
        best = means.abs().argsort(descending=True, stable=True)[: count(k, "k", "rows", least=0)].tolist()
        return [(self.labels[i], float(means[i])) for i in best]

    def to_xarray(self) -> "xarray.Dataset":
        """A dataset with the variables `first`, `second`, `difference`, and after `split` `written` and `read`.

        Positions and tokens are those of the first.
        """
        tensors = {"values": self.values, "positions": self.first.positions}
        data = to_dataset(self.parts, tensors, self.first.provenance, whole=False)
        dims = data["values"].dims
        columns = {"first": self.left, "second": self.right, "written": self.written, "read": self.read}
        there = {name: (dims, t.detach().cpu().numpy()) for name, t in columns.items() if t is not None}
        return data.assign(there).rename(values="difference").assign_attrs(format=DIFFERENCE_FORMAT)

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row for each part, direction, prompt and position: first, second, difference, and after `split` why."""
        data = self.to_xarray().rename(difference="values")
        others = [name for name in ("first", "second", *_SPLIT) if name in data]
        return frame_of(data, ["values", *others]).rename(columns={"value": "difference"})

    def save(self, path: str | Path) -> None:
        """Writes the dataset to a netCDF file, which xarray reads. The file appears whole or not at all.

        Raises:
            ValueError: If the name has the ending of another format.
            OSError: If there is no such folder, or the file cannot be written there.
        """
        file = file_path(path, "the file")
        check_target(file, NETCDF, "netCDF")
        write_dataset(self.to_xarray(), file)

    def to_json(self, top: Count | None = None) -> str:
        """The differences as strict JSON, the largest of either sign first; see `Attribution.to_json`.

        Args:
            top: How many rows; None for all, and one row for the rest.

        Raises:
            TypeError: If `top` is not a whole number.
            ValueError: If it is negative.
        """
        shown = rows_written(top)
        several = [self.direction(name) for name in self.directions] or [self]
        about = {"first": asked(self.first.provenance), "second": asked(self.second.provenance)}
        return strict_json(document("comparison", **about, directions=[one._ranked(shown) for one in several]))

    def plot(self, shown: Count = 15) -> Any:
        """Bars of both and their difference, of the `shown` rows that differ most; after `split`, of why they differ.

        Raises:
            MissingPackageError: If plotly is not installed.
            TypeError: If `shown` is not a whole number.
            ValueError: If it is less than one, or several directions were asked for.
        """
        whole = (
            (("first", self.left), ("second", self.right))
            if self.written is None or self.read is None
            else (("written differently", self.written), ("read differently", self.read))
        )
        drawn = (*whole, (f"first - second {BY_SIGN}", self.values))
        series = [(name, mean_by_row(self.first, values).cpu().numpy()) for name, values in drawn]
        return difference_bars(self._title(), self.labels, series, count(shown, "shown", "rows"), "")

    def __repr__(self) -> str:
        return f"Difference({shortened(self._title())}: {len(self.parts)} parts)"

    def _ranked(self, shown: int | None) -> dict[str, Any]:
        tensors = {"first": self.left, "second": self.right, "difference": self.values}
        tensors |= {} if self.written is None or self.read is None else {"written": self.written, "read": self.read}
        columns = {name: mean_by_row(self.first, tensor).tolist() for name, tensor in tensors.items()}
        both = {"first": self.first, "second": self.second}
        return {
            "direction": self._title(),
            "sums": {
                name: {which: _mean(of_answers(getattr(one, name), one.provenance)) for which, one in both.items()}
                for name in ("logit", "output_logit", "constant", "total")
            },
            "gap": max(float(one.gap.abs().nan_to_num().max()) for one in both.values()),
            "tolerance": sum(float(one.tolerance.nan_to_num().max()) for one in both.values()),
            **ranked_rows(self.parts, columns, "difference", shown),
        }

    def _title(self) -> str:
        return " minus ".join(
            _told(one, other) for one, other in ((self.first, self.second), (self.second, self.first))
        )

    def _grid(self, shown: int) -> Grid:
        columns = [self.left, self.right, self.values]
        columns += [] if self.written is None or self.read is None else [self.written, self.read]
        numbers = torch.stack([mean_by_row(self.first, column) for column in columns], -1)
        order = [self.labels.index(label) for label, _ in self.top(shown)]
        rows = [(self.labels[i], numbers[i].tolist()) for i in order]
        changed = any(map(is_transformed, (self.first, self.second)))
        own = "their logit before cap or scale" if changed else "the model's own logit"
        proof = [
            ("all rows", self.first.total, self.second.total),
            ("constant", self.first.constant, self.second.constant),
            (own, self.first.logit, self.second.logit),
            *([("what the model returns", self.first.output_logit, self.second.output_logit)] if changed else []),
            ("largest gap", self.first.gap.abs().nan_to_num().max(), self.second.gap.abs().nan_to_num().max()),
        ]
        sums = [(name, [_mean(one), _mean(other)]) for name, one, other in proof]
        header = (*COMPARED, *(f"{why} differently" for why in _SPLIT if self.written is not None))
        return Grid(self._title(), header, compared_lines(rows, sums, len(header)))


def _mean(values: Float[Tensor, "*more"]) -> float:
    return float(values.to(torch.float64).nanmean())


def _told(one: AttributedRows, other: AttributedRows) -> str:
    """What is asked of which model, as far as it is not the same in both."""
    mine, others = one.provenance, other.provenance
    prompts = " / ".join("".join(tokens) for tokens in mine.tokens[:1]) + (" ..." if len(mine.tokens) > 1 else "")
    model = f"{mine.model}, {mine.dtype}"
    told = {
        mine.direction: mine.direction != others.direction,
        model: model != f"{others.model}, {others.dtype}",
        repr(shortened(prompts)): mine.tokens != others.tokens,
        mine.decomposer: mine.decomposer != others.decomposer,
        f"edited: {some_of(mine.edits)}" if mine.edits else "not edited": mine.edits != others.edits,
    }
    return ", ".join(text for text, differs in told.items() if differs) or mine.direction
