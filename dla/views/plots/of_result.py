"""The plots of one result: `result.plot()` picks the one that fits, and each has its name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from dla.decomposers.rows import RowKind
from dla.inputs.arguments import instance
from dla.inputs.given import Count, count
from dla.views.plots.beside import side_by_side
from dla.views.plots.depth import depth_lines
from dla.views.plots.head_map import head_map
from dla.views.plots.part_map import place_map
from dla.views.plots.ranked import ranked_bars
from dla.views.plots.rows import PlotRows, RowsOfResult
from dla.views.plots.strip import answer_strip, source_strip
from dla.views.plots.svg import svg_of
from dla.views.plots.waterfall import waterfall

if TYPE_CHECKING:
    OtherRows = RowsOfResult
else:  # what is passed is looked at here, and a sentence says what is wrong with it
    OtherRows = object

_STEPS = 12  # of a waterfall
_FEW = 40  # rows, of which a waterfall shows the most


@final
@dataclass(frozen=True, eq=False)
class ResultPlots:
    """The plots of a result. Each is a figure of plotly, the extra `plot`, and can be restyled as any other.

    Blue is positive, vermilion negative, the background zero. `figure.update_layout(template="dla_dark")` makes a
    figure dark; it is from the start where `plotly.io.templates.default` is dark. Where more than one position was
    asked about, values are means, except where positions are what is drawn. `figure.write_image` needs kaleido and a
    browser; `svg`, and the page that `result.report` writes, need neither.

    Attributes:
        result: The result, whose labels and numbers are drawn.
    """

    result: RowsOfResult

    def __call__(self) -> Any:
        """The plot that fits the rows.

        Directions side by side if there are several; else the stream over depth for rows that do not add up, a map of
        positions for several positions, the sources of a head or what tokens gave on the prompt, the map of layers and
        heads; else a
        waterfall, or where there are many rows the strongest as bars.

        Raises:
            MissingPackageError: If plotly is not installed.
        """
        provenance, parts = self.result.provenance, self.result.parts
        of_tokens = [part for part in parts if part.source is not None]
        heads = {str(part.parent) for part in of_tokens}
        if provenance.directions:
            return self.positions()
        if provenance.row_kind != RowKind.ADDITIVE.value:
            return self.depth()
        if len(self.result.provenance.tokens) == 1 and "position" in provenance.dims:
            return self.positions()
        if of_tokens and len(provenance.tokens) == 1:
            if len(heads) == 1 and of_tokens[0].kind == "source":
                return self.sources(*heads)
            if all(part.kind == "token" for part in of_tokens):  # a logit traced back to the tokens of its prompt
                return self.sources()
        if sum(part.kind == "head" for part in parts) > 1:
            return self.heads()
        return self.waterfall() if len(parts) <= _FEW else self.ranked()

    def heads(self) -> Any:
        """Layers and heads as a map, layer 0 on top, white at zero; MLPs as a column of their own.

        Raises:
            ValueError: If no row is a head, or several directions were asked for.
        """
        return head_map(self._rows())

    def waterfall(self, shown: Count = _STEPS) -> Any:
        """From the constant to the logit, by the `shown` strongest rows and all others together.

        Raises:
            ValueError: If the rows do not add up, or several directions were asked for.
        """
        return waterfall(self._rows(), count(shown, "shown", "rows", least=0))

    def depth(self, lens: OtherRows | None = None) -> Any:
        """The logit as the stream grows.

        Args:
            lens: The result of a `LensDecomposer` for the same question, drawn beside that of a `LayerDecomposer`.

        Raises:
            ValueError: If several directions were asked for, rows are a selection of those that add up, or a lens is
                beside rows that are not by layer.
        """
        return depth_lines(self._rows(), None if lens is None else _other(lens, "lens"))

    def sources(self, head: str | None = None) -> Any:
        """The prompt, coloured by what a head reads of each token; by the sum of all rows of a token, if none is named.

        Raises:
            ValueError: If the rows have no sources of it; says how to get them.
        """
        return source_strip(self._rows(), None if head is None else str(head))

    def ranked(self, shown: Count = 20) -> Any:
        """The strongest rows as bars, `shown` at each end.

        Raises:
            ValueError: If several directions were asked for.
        """
        return ranked_bars(self._rows(), count(shown, "shown", "rows"))

    def tokens(self, part: str | None = None) -> Any:
        """The text of one prompt, coloured by what a row contributes at each position, or by the logit there.

        Raises:
            ValueError: If there are several prompts or directions, or no such row.
        """
        return answer_strip(self._rows(), part)

    def positions(self, shown: Count = 25) -> Any:
        """The `shown` strongest rows by position; by direction, where several were asked for."""
        return place_map(PlotRows.of(self.result), count(shown, "shown", "rows"))

    def compare(self, other: OtherRows, shown: Count = 15) -> Any:
        """This result and another side by side, and this one minus the other.

        Raises:
            ValueError: If they have no row in common.
        """
        return side_by_side(self._rows(), _other(other, "other"), count(shown, "shown", "rows"))

    def svg(self) -> str:
        """A picture as the text of an SVG file, for which nothing need be installed: heads as a map, else a waterfall.

        Raises:
            ValueError: If several directions were asked for.
        """
        return svg_of(self._rows())

    def __repr__(self) -> str:
        return f"ResultPlots(call it, or {', '.join(_NAMES)})"

    def _rows(self) -> PlotRows:
        return _one_direction(PlotRows.of(self.result))


_NAMES: Sequence[str] = [name for name, value in vars(ResultPlots).items() if callable(value) and name[0] != "_"]


def _other(result: object, what: str) -> PlotRows:
    """The rows of another result that was passed."""
    found: RowsOfResult = instance(result, RowsOfResult, what, "what attributor.attribute(...) gave")
    return _one_direction(PlotRows.of(found))


def _one_direction(rows: PlotRows) -> PlotRows:
    if len(rows.directions) > 1:
        raise ValueError(f"This plot is of one direction at a time: result.direction({rows.directions[0]!r}).plot.")
    return rows
