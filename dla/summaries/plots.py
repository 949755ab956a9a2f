"""The plots of a summary: `summary.plot()` picks the one that fits, and each has its name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd

from dla.inputs.given import Count, count
from dla.labels import Label
from dla.summaries.intervals import Interval
from dla.summaries.statistics import USUAL_INTERVAL, check_interval
from dla.summaries.subject import SUM_MEASURES, SummarySubject
from dla.views.plots.head_map import head_map
from dla.views.plots.interval_bars import interval_bars
from dla.views.plots.rows import PlotRows
from dla.views.plots.svg import svg_of

Groups = Sequence[tuple[str, pd.DataFrame]]
"""The name of each group of prompts, and the numbers of its parts and sums."""


@final
@dataclass(frozen=True, eq=False)
class SummaryPlots:
    """The plots of a summary. Each is a figure of plotly, the extra `plot`, and can be restyled as any other.

    Attributes:
        title: What stands above bars.
        overall: What stands above pictures of all prompts.
        about: What the summary is of.
        groups: The groups; if there are several, that of all prompts is the first, and not drawn as bars.
    """

    title: str
    overall: str
    about: SummarySubject
    groups: Callable[[Interval], Groups]

    def __call__(self, interval: Interval = USUAL_INTERVAL) -> Any:
        """Heads, and next to them MLPs, as a map of layers and heads; other parts, or several groups, as bars.

        Raises:
            MissingPackageError: If plotly is not installed.
            ValueError: If there is no prompt.
        """
        several = len(self.groups(check_interval(interval))) > 1
        heads = sum(part.kind == "head" for part in self.about.parts)
        return self.heads(interval) if heads > 1 and not several else self.bars(interval)

    def heads(self, interval: Interval = USUAL_INTERVAL) -> Any:
        """The means over all prompts as a map, layer 0 on top; the pointer shows the intervals.

        Raises:
            ValueError: If there is no prompt, or no part is a head.
        """
        numbers = self._all(interval)
        told = [f"[{low:+.4f}, {high:+.4f}]" for low, high in zip(numbers["low"], numbers["high"], strict=True)]
        return head_map(self._rows(numbers), told)

    def bars(self, interval: Interval = USUAL_INTERVAL, shown: Count = 40) -> Any:
        """The means and intervals of the `shown` strongest parts as bars; groups stand next to each other.

        Raises:
            ValueError: If there is no prompt.
        """
        groups, most = self.groups(check_interval(interval)), count(shown, "shown", "parts")
        columns = [
            (name, self._of_parts(numbers)[["mean", "low", "high"]].to_numpy(np.float64).T)
            for name, numbers in (groups[1:] or groups)
        ]
        drawn = [(name, each[0], each[1:]) for name, each in columns]
        return interval_bars(self.title, self.about.labels, drawn, most)

    def svg(self) -> str:
        """The means over all prompts as the text of an SVG file, for which nothing need be installed.

        Raises:
            ValueError: If there is no prompt.
        """
        return svg_of(self._rows(self._all(USUAL_INTERVAL)))

    def __repr__(self) -> str:
        return "SummaryPlots(call it, or heads, bars, svg)"

    def _all(self, interval: Interval) -> pd.DataFrame:
        return self.groups(check_interval(interval))[0][1].reset_index(drop=True)

    def _of_parts(self, numbers: pd.DataFrame) -> pd.DataFrame:
        return numbers[: len(self.about.parts)]

    def _rows(self, numbers: pd.DataFrame) -> PlotRows:
        """The means as the rows of one place."""
        parts = tuple(Label(part.kind, part.layer, part.index, text=part.label) for part in self.about.parts)
        means = numbers["mean"].to_numpy(np.float64)
        total, constant, logit = (
            means[len(parts) + SUM_MEASURES.index(name)].reshape(1, 1) for name in ("total", "constant", "logit")
        )
        return PlotRows(
            title=self.overall,
            parts=parts,
            values=means[None, None, : len(parts)],
            directions=(self.about.direction,),
            places=((0, -1),),
            tokens=(),
            total=total,
            constant=constant,
            logit=logit,
            additive=self.about.additive,
        )
