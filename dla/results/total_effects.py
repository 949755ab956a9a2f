"""What each part adds to a logit through all paths: directly, and through the parts that read it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console, ConsoleOptions
from rich.table import Table
from torch import Tensor

from dla.decomposers.base import Decomposer, as_decomposer
from dla.decomposers.head import HeadDecomposer
from dla.engine.all_paths import AllPaths
from dla.engine.forward import Unembed
from dla.engine.frozen import FrozenRun
from dla.engine.rules import Rule
from dla.inputs.arguments import choice
from dla.inputs.given import Count, count
from dla.labels import Label
from dla.provenance import Provenance
from dla.results.attributed import AttributedRows, run_of
from dla.results.trace_back import end_of, one_position, rows_of_walk
from dla.results.traced_positions import Pos
from dla.views.frames import frame_of_rows
from dla.views.grid import Grid, Line, printed, signed
from dla.views.plots.part_map import part_map
from dla.views.plots.rows import token_name

if TYPE_CHECKING:
    import pandas

_SHOWN = 20  # rows of a printed table


@final
@dataclass(frozen=True, eq=False)
class TotalEffects:
    """What each part adds to a logit at each position where it writes, in logits.

    Patterns, the scales of norms and what the rule says are those of the run; paths through a sublayer that cannot be
    traced are not followed. Totals of parts on the same path count it twice, so they do not add up.

    Attributes:
        parts: One label per part, aligned with the first axis of the tensors.
        direct: What the direction reads of it at the end of the stream; 0 at all positions but the one asked about.
        through: What reaches the end through other parts, which read it.
        provenance: What was asked of which model.
    """

    parts: tuple[Label, ...]
    direct: Float[Tensor, "part batch pos"]
    through: Float[Tensor, "part batch pos"]
    provenance: Provenance

    @property
    def labels(self) -> list[str]:
        """The labels as text."""
        return [str(part) for part in self.parts]

    @property
    def total(self) -> Float[Tensor, "part batch pos"]:
        """`direct + through`."""
        return self.direct + self.through

    def top(self, k: Count = 5, *, by: str = "total") -> list[tuple[str, int, float]]:
        """The `k` parts and positions with the largest effects of either sign, on average over prompts.

        Args:
            k: How many.
            by: "total", "direct" or "through".

        Raises:
            TypeError: If `k` is not a whole number.
            ValueError: If it is negative, or `by` is none of these.
        """
        which = {"total": self.total, "direct": self.direct, "through": self.through}
        means = which[choice(by, "by", tuple(which))].to(torch.float64).mean(1)
        order = means.abs().flatten().argsort(descending=True, stable=True)[: count(k, "k", "parts", least=0)]
        found = [divmod(i, means.shape[1]) for i in order.tolist()]
        return [(self.labels[part], s, float(means[part, s])) for part, s in found]

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row for each part, prompt and position that the prompt has: direct, through, total."""
        columns = ("part", "batch", "position", "token", "direct", "through", "total")
        effects = [each.tolist() for each in (self.direct, self.through, self.total)]
        rows = [
            (label, batch, s, token, *(effect[i][batch][s] for effect in effects))
            for i, label in enumerate(self.labels)
            for batch, tokens in enumerate(self.provenance.tokens)
            for s, token in enumerate(tokens)
        ]
        return frame_of_rows(columns, rows)

    def plot(self, shown: Count = 25) -> Any:
        """The `shown` strongest parts by the position where they write, on average over prompts; a figure of plotly.

        Raises:
            MissingPackageError: If plotly is not installed.
            TypeError: If `shown` is not a whole number.
            ValueError: If it is less than one.
        """
        means = self.total.detach().to("cpu", torch.float64).mean(1).numpy()
        tokens = self.provenance.tokens[0] if len(self.provenance.tokens) == 1 else ()
        columns = [token_name(s, tokens) for s in range(means.shape[1])]
        kept = sorted((-np.abs(means).max(1)).argsort(kind="stable")[: count(shown, "shown", "parts")].tolist())
        return part_map(self._grid().title, means[kept], [self.labels[i] for i in kept], columns, len(self.parts))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        yield self._grid().rich(options.max_width)

    def __str__(self) -> str:
        return printed(self)

    def __repr__(self) -> str:
        return f"TotalEffects({self.provenance.direction}: {len(self.parts)} parts, {self.total.shape[-1]} positions)"

    def _repr_html_(self) -> str:
        return self._grid().html()

    def _grid(self) -> Grid:
        lines = []
        for label, s, total in self.top(_SHOWN):
            i = self.labels.index(label)
            direct, through = (float(each[i, :, s].mean()) for each in (self.direct, self.through))
            lines.append(Line(f"{label} at {s}", (signed(direct), signed(through), signed(total)), total))
        by_rule = self.provenance.rule and f" ({self.provenance.rule})"
        return Grid(
            f"{self.provenance.direction}: through all paths{by_rule}",
            ("direct", "through others", "total"),
            (tuple(lines),),
            note="Totals of parts on one path count it twice; they do not add up.",
        )


@torch.no_grad()
def total_effects(
    result: AttributedRows, by: Decomposer | None = None, *, rule: Rule | None = None, pos: Pos = None
) -> TotalEffects:
    """What each part adds to the logit of an attribution through all paths; one run and one walk backwards.

    Args:
        result: The attribution.
        by: What the parts are; None for heads, MLPs and embeddings.
        rule: How a gated MLP is read as linear: `FrozenGate()`, `FrozenUp()` or `Mixed(0.5)`.
        pos: Which position, where the result is about several.

    Raises:
        ReconstructionError: If what the way leads to, at the embeddings, is not the logit.
        RunChangedError: If the model does not run any more as it ran for the result.
        TypeError: If an argument is of another kind.
        UnsupportedModelError: If the adapter does not say what sublayers read.
        ValueError: If the result was read from a file, several positions or directions were asked for, rows depend on
            values, or the rule does not fit.
    """
    rerun = run_of(result, "total_effects")
    asked = one_position(rerun.query, pos)
    paths = AllPaths(rerun.query, HeadDecomposer() if by is None else as_decomposer(by), rule)
    run = FrozenRun(rerun.query, paths.names())
    rerun.again(run.observers(), Unembed.SAMPLE)
    end = end_of(rerun, asked, run)
    labels: list[Label] = []
    direct, through = [], []
    every, walked = paths.meet(end, run)
    rows_of_walk(rerun, paths.start, walked, run, asked, "traced back to tokens", rule).proven(result)
    for met in every:
        rows = met.step.write.contract(run, torch.stack([end, met.direction - end]))
        labels += met.step.write.labels
        shape = (*rows.shape[:2], *end.shape[:2])
        direct.append(rows[0].expand(shape[1:]))
        through.append(rows[1].expand(shape[1:]))
    provenance = replace(result.provenance, rule="" if rule is None else rule.words)
    return TotalEffects(tuple(labels), torch.cat(direct), torch.cat(through), provenance)
