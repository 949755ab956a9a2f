"""How an attribution is written: its table, plots, frames, files, the page."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dla.inputs.arguments import file_path
from dla.inputs.given import Count
from dla.results.attributed import AttributedRows
from dla.results.attribution_table import ROWS_SHOWN, attribution_grid, of_answers
from dla.results.choosing import PER_PLACE
from dla.results.json_notes import notes_of
from dla.results.question import Question
from dla.results.report import write_report
from dla.results.sums import adds_up
from dla.results.tables import TablePerDirection
from dla.text import shortened
from dla.views.brief import mean_of
from dla.views.dataset import frame_of, to_dataset, with_question
from dla.views.document import rows_written
from dla.views.endings import NETCDF, check_target
from dla.views.files import write_dataset
from dla.views.grid import Grid
from dla.views.plots.of_result import ResultPlots
from dla.views.rows_json import rows_as_json

if TYPE_CHECKING:
    import pandas
    import xarray

TENSORS = ("values", *PER_PLACE, "gap", "positions")
"""The tensors of an attribution, as a dataset has them."""


class _Result(AttributedRows, Protocol):
    @property
    def question(self) -> Question | None: ...

    def _repr_html_(self) -> str: ...


class Outputs(TablePerDirection):
    """What the class of attributions inherits to be shown and written; it takes nothing but the rows."""

    def to_xarray(self: _Result) -> "xarray.Dataset":
        """A dataset with dimensions `part`, `direction`, `batch`, `position`, and coordinates for what labels say."""
        tensors = {name: getattr(self, name) for name in TENSORS}
        whole = adds_up(self.values, self.total, self.tolerance, self.provenance.row_kind)
        return to_dataset(self.parts, tensors, self.provenance, whole)

    def to_dataframe(self: _Result) -> "pandas.DataFrame":
        """One row for each part, direction, prompt and position."""
        return frame_of(self.to_xarray(), ["values"])

    def save(self: _Result, path: str | Path) -> None:
        """Writes everything, with what was asked of which model, to one netCDF file, whole or not at all.

        Raises:
            ValueError: If the name has the ending of another format, such as `.csv`; says what writes that.
            OSError: If there is no such folder, or the file cannot be written there.
        """
        file = file_path(path, "the file")
        check_target(file, NETCDF, "netCDF")
        question = self.question if self.rerun is None else Question.of(self.rerun, self.provenance)
        write_dataset(with_question(self.to_xarray(), "" if question is None else question.as_text()), file)

    @property
    def plot(self: _Result) -> ResultPlots:
        """The plots of this result: `plot()` picks the right one; `plot.heads()`, `plot.waterfall()`, ... by name."""
        return ResultPlots(self)

    def report(self: _Result, path: str | Path, *, sources: Count = 0, promoted: Count = 0) -> None:
        """Writes a page to explore: one HTML file, which needs no network. It appears whole or not at all.

        Args:
            path: The file.
            sources: How many heads, the strongest, to split by the token that they read; one more run of the model.
            promoted: How many tokens to name that each of these heads pushes up and down; one more run.

        Raises:
            RunChangedError: If the model does not run any more as it ran for this result.
            ValueError: If the name has another ending, the result was read from a file, or no row is a head.
            OSError: If there is no such folder, or the file cannot be written there.
        """
        write_report(self, file_path(path, "the file"), sources, promoted, self._repr_html_())

    def to_json(self: _Result, top: Count | None = None, *, caveats: bool = True) -> str:
        """What was found as strict JSON, the strongest rows first: all of them, or `top`, and one row for the rest.

        `dla.views.document.schema()` is the JSON Schema; NaN is null.

        Args:
            top: How many rows.
            caveats: Whether to say what `caveats` says, where that can be asked; the model runs once more for it.

        Raises:
            TypeError: If `top` is not a whole number, or `caveats` something else.
            ValueError: If `top` is negative.
        """
        return rows_as_json(self, rows_written(top), **notes_of(self, caveats))

    def __repr__(self: _Result) -> str:
        worst, allowed = (float(tensor.nan_to_num().abs().max()) for tensor in (self.gap, self.tolerance))
        several = len(self.directions)
        told = f"{several} directions" if several else f"logit {mean_of(of_answers(self.logit, self.provenance))}"
        return (
            f"Attribution({shortened(self.provenance.direction)}, {self.provenance.decomposer}: "
            f"{len(self.parts)} parts, {told}, largest gap {worst:.1e}, allowed {allowed:.1e})"
        )

    _shown = ROWS_SHOWN

    def _grid(self: _Result, shown: int) -> Grid:
        return attribution_grid(self, shown)
