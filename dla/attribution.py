"""The result: how much each part contributed, and the proof that the parts add up."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, final

import pandas as pd
import torch
import xarray as xr
from jaxtyping import Float, Int
from rich.console import Console, ConsoleOptions
from rich.table import Table
from torch import Tensor

from dla.labels import Label
from dla.views.dataset import Record, from_dataset, to_dataset
from dla.views.files import read_dataset, write_dataset
from dla.views.html import html_table
from dla.views.table import rich_table

SHOWN = 10
"""How many rows a printed table shows at each end."""


@final
@dataclass(frozen=True, eq=False)
class Attribution:
    """What each part of the model contributed to a logit, or to a difference of logits.

    All tensors are in logits. The batch axis is always there (unless an unbatched cache was given); the position axis
    is dropped when one position was asked for. A prompt too short for a position holds NaN there.

    Attributes:
        parts: One label a part, aligned with the first axis of `values`.
        values: The contributions.
        total: What the parts come to: their sum for a partition, the last row for a trajectory.
        constant: `β · W_U + b_U`, which no part writes.
        logit: The model's own logit (or difference), measured, before any soft cap or logit scale.
        output_logit: The same after them: what the model returns.
        tolerance: How large a gap the model's own rounding can make.
        positions: The position of each entry in its prompt; -1 where there is none.
        record: What was asked of which model: prompts, direction, decomposer, versions.
    """

    parts: tuple[Label, ...]
    values: Float[Tensor, "part *batch_and_pos"]
    total: Float[Tensor, "*batch_and_pos"]
    constant: Float[Tensor, "*batch_and_pos"]
    logit: Float[Tensor, "*batch_and_pos"]
    output_logit: Float[Tensor, "*batch_and_pos"]
    tolerance: Float[Tensor, "*batch_and_pos"]
    positions: Int[Tensor, "*batch_and_pos"]
    record: Record = field(repr=False)

    @property
    def labels(self) -> list[str]:
        """The labels as text, aligned with the first axis of `values`."""
        return [str(part) for part in self.parts]

    @property
    def gap(self) -> Float[Tensor, "*batch_and_pos"]:
        """`logit - (total + constant)`: what the parts do not explain. Rounding, or an error was raised."""
        return self.logit - (self.total + self.constant)

    @property
    def tokens(self) -> list[list[str]]:
        """Each prompt's tokens as text."""
        return [list(prompt) for prompt in self.record.tokens]

    def top(self, k: int = 5, *, by: Literal["value", "abs"] = "value") -> list[tuple[str, float]]:
        """The `k` parts that contribute most, averaged over prompts and positions.

        Args:
            k: How many.
            by: "value" for the most positive, "abs" for the largest of either sign.
        """
        means = self._means()
        return self._ranked(means.abs() if by == "abs" else means, k)

    def bottom(self, k: int = 5, *, by: Literal["value", "abs"] = "value") -> list[tuple[str, float]]:
        """The `k` parts that contribute least: the most negative, or with `by="abs"` the smallest of either sign."""
        means = self._means()
        return self._ranked(-(means.abs() if by == "abs" else means), k)

    def select(
        self,
        label: str | Sequence[str] | None = None,
        *,
        kind: str | None = None,
        layer: int | None = None,
        where: Callable[[Label], bool] | None = None,
    ) -> "Attribution":
        """Only some of the parts. `total` and `gap` still speak of all of them.

        Args:
            label: A label or several, as written in `labels`.
            kind: A kind, such as "head".
            layer: A layer.
            where: Says of each label whether to keep it.

        Raises:
            ValueError: If no part is left, or a label does not exist.
        """
        wanted = None if label is None else {label} if isinstance(label, str) else set(label)
        unknown = (wanted or set()) - set(self.labels)
        if unknown:
            some = ", ".join(self.labels[:4])
            raise ValueError(f"There is no part {sorted(unknown)[0]!r}; the parts are {some}, ... (see `labels`).")
        keep = [
            i
            for i, part in enumerate(self.parts)
            if (wanted is None or str(part) in wanted)
            and (kind is None or part.kind == kind)
            and (layer is None or part.layer == layer)
            and (where is None or where(part))
        ]
        if not keep:
            kinds = ", ".join(sorted({part.kind for part in self.parts}))
            raise ValueError(f"No part matches kind={kind!r}, layer={layer!r}; the kinds here are {kinds}.")
        return replace(self, parts=tuple(self.parts[i] for i in keep), values=self.values[keep])

    def to_xarray(self) -> xr.Dataset:
        """A dataset with dimensions `part`, `batch`, `position` and coordinates for kind, layer, head and token."""
        tensors = {name: getattr(self, name) for name in _TENSORS}
        return to_dataset(self.parts, {**tensors, "gap": self.gap}, self.record)

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each part, prompt and position."""
        data = self.to_xarray()[["values", "position_in_prompt", "token"]]
        frame = data.to_dataframe().reset_index().rename(columns={"values": "value"})
        return frame.dropna(subset="value").reset_index(drop=True)

    def save(self, path: str | Path) -> None:
        """Writes everything, with its provenance, to one netCDF file. The file appears whole or not at all."""
        write_dataset(self.to_xarray(), Path(path))

    def table(self, shown: int = SHOWN) -> Table:
        """The table that is printed, with at most `shown` rows at each end; rows of a trajectory are all shown."""
        return rich_table(self._title(), *self._ends(shown), self._proof())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        yield self.table()

    def __str__(self) -> str:
        console = Console(width=100, no_color=True, highlight=False)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    def _repr_html_(self) -> str:
        return html_table(self._title(), *self._ends(SHOWN), self._proof())

    def _means(self) -> Float[Tensor, " part"]:
        return self.values.flatten(1).nanmean(-1) if self.values.ndim > 1 else self.values

    def _ranked(self, order: Float[Tensor, " part"], k: int) -> list[tuple[str, float]]:
        means = self._means()
        best = order.argsort(descending=True, stable=True)[:k].tolist()
        return [(str(self.parts[i]), float(means[i])) for i in best]

    def _ends(self, shown: int) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
        """The rows of a table, largest first: all of them, or both ends. A trajectory keeps its order."""
        if self.record.law == "trajectory":
            return list(zip(self.labels, self._means().tolist(), strict=True)), []
        if len(self.parts) <= 2 * shown:
            return self.top(2 * shown), []
        return self.top(shown), self.bottom(shown)[::-1]

    def _title(self) -> str:
        what = f"{self.record.direction}, {self.record.decomposer}"
        count = int((self.positions >= 0).sum())
        return what if count == 1 else f"{what}, mean over {count} positions of {len(self.record.tokens)} prompts"

    def _proof(self) -> list[tuple[str, float]]:
        worst = self.gap.abs().nan_to_num().max()
        return [
            ("sum of the parts" if self.record.law == "partition" else "the last row", _mean(self.total)),
            ("constant", _mean(self.constant)),
            ("the model's own logit", _mean(self.logit)),
            ("largest gap", float(worst)),
        ]


def load(path: str | Path) -> Attribution:
    """Reads an attribution that `Attribution.save` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        FileFormatError: If the file is not one of ours, or was cut short.
    """
    parts, tensors, record = from_dataset(read_dataset(Path(path)), _TENSORS)
    return Attribution(parts=parts, record=record, **{name: tensors[name] for name in _TENSORS})


_TENSORS = ("values", "total", "constant", "logit", "output_logit", "tolerance", "positions")


def _mean(values: Tensor) -> float:
    return float(values.to(torch.float64).nanmean())
