"""Fair shares of the logit, with the final norm in the game: Shapley values over a few rows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.decomposers.rows import RowKind
from dla.results.attributed import AttributedRows
from dla.results.attribution_table import mean_by_row
from dla.results.part_vectors import PartVectors, direction_reads
from dla.results.removal import known_eps
from dla.results.rerun import Rerun
from dla.results.tables import TablePerDirection
from dla.text import shortened
from dla.views.dataset import frame_of
from dla.views.grid import Grid, Line, signed
from dla.views.plots.scatter import effects_scatter
from dla.writes.routes import centre

if TYPE_CHECKING:
    import pandas
    import xarray

MOST_SHARED = 15
"""How many rows may share: each more doubles the number of coalitions."""

_POSITIONS = 32  # whose coalitions are weighed at the same time


@final
@dataclass(frozen=True, eq=False)
class Shares(TablePerDirection):
    """The logit shared out among rows so that each gets what it adds on average, whichever others are there already.

    A value is what a row contributes on the scale that the final norm has with all rows. Here the norm plays along:
    some rows alone have the scale of their own sum. A share is the mean, over all orders in which the rows can join, of
    what the logit gains when the row does. Shares add up to the total, a row whose vector is zero has none, and without
    a final norm shares are the values.

    All tensors are in logits and have the axes of the attribution's `values`.

    Attributes:
        attribution: The rows and their values.
        shares: The shares.

    Source: Shapley 1953, "A Value for n-Person Games"; that the final norm's scale makes the game, and that inner
    products of the rows' vectors decide every coalition without a run of the model, is ours.
    """

    attribution: AttributedRows
    shares: Float[Tensor, "part *direction_batch_and_pos"]

    @staticmethod
    def of(attribution: AttributedRows, rerun: Rerun) -> "Shares":
        """The shares of an attribution's rows, after one more run of the model.

        Args:
            attribution: The rows; all of them.
            rerun: Where they come from.

        Raises:
            RunChangedError: If the model does not run any more as it did.
            ValueError: If the rows do not add up, are not all, or are more than `MOST_SHARED`.
        """
        parts = attribution.parts
        _check(attribution)
        vectors = PartVectors(rerun.query, parts)
        run = rerun.once_more(vectors.observers())
        stacked = torch.stack([vectors.vector(part) for part in parts]).double()
        reads, norm = direction_reads(rerun.query).double(), rerun.query.unembedding.norm
        read = torch.einsum("dbqm,pbqm->dpbq", reads, stacked).flatten(2)
        if norm is None:
            found = read
        else:
            centred = centre(stacked) if norm.centred else stacked
            gram = torch.einsum("pbqm,rbqm->prbq", centred, centred).flatten(2) / stacked.shape[-1]
            found = torch.cat(list(_shares(read, gram, known_eps(norm))), -1)
        shares = found.movedim(1, 0).reshape(len(parts), *run.logit.shape)
        if rerun.rounding in parts:  # what the readout rounds away is in its row, and is no vector of the stream
            shares[parts.index(rerun.rounding)] += run.total.double() - shares.sum(0)
        shaped = shares.reshape(len(parts), *attribution.total.shape).to(attribution.values)
        return Shares(attribution, shaped.masked_fill(attribution.total.isnan(), torch.nan))

    @property
    def labels(self) -> list[str]:
        """The labels of the rows."""
        return self.attribution.labels

    @property
    def values(self) -> Float[Tensor, "part *direction_batch_and_pos"]:
        """What each row contributes on the scale that the norm has with all rows."""
        return self.attribution.values

    @property
    def directions(self) -> list[str]:
        """The names of the directions, if several were asked for."""
        return self.attribution.directions

    def direction(self, name: str) -> "Shares":
        """The shares in one of several directions.

        Raises:
            ValueError: If none has that name.
        """
        one, i = self.attribution.direction(name), self.directions.index(name)
        return Shares(one, self.shares[:, i])

    def to_xarray(self) -> "xarray.Dataset":
        """The attribution's dataset, with the variable `share`."""
        data = self.attribution.to_xarray()
        return data.assign(share=(data["values"].dims, self.shares.detach().cpu().numpy()))

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row for each part, direction, prompt and position: value, share."""
        return frame_of(self.to_xarray(), ["values", "share"])

    def plot(self) -> Any:
        """Values against shares, a point a row, as a figure of plotly.

        Raises:
            MissingPackageError: If plotly is not installed.
            ValueError: If several directions were asked for.
        """
        return effects_scatter(self._grid(0).title, self.to_dataframe())

    def __repr__(self) -> str:
        provenance = self.attribution.provenance
        return f"Shares({shortened(provenance.direction)}, {provenance.decomposer}: {len(self.labels)} parts)"

    def _grid(self, shown: int) -> Grid:
        values, shares = (mean_by_row(self.attribution, numbers) for numbers in (self.values, self.shares))
        order = shares.abs().argsort(descending=True, stable=True)[:shown].tolist()
        lines = tuple(
            Line(self.labels[i], (signed(float(values[i])), signed(float(shares[i]))), float(shares[i])) for i in order
        )
        total = Line("sum of all", (signed(float(values.sum())), signed(float(shares.sum()))))
        title = f"{self.attribution.provenance.direction}: shares with the final norm in the game"
        return Grid(title, ("value", "share"), (lines, (total,)))


def _check(attribution: AttributedRows) -> None:
    if attribution.provenance.row_kind != RowKind.ADDITIVE.value:
        raise ValueError(f"The rows are {attribution.provenance.row_kind}; they do not share the logit.")
    if len(attribution.parts) > MOST_SHARED:
        raise ValueError(
            f"There are {len(attribution.parts)} rows, and at most {MOST_SHARED} can share: every set of them is "
            "weighed. Group them first, as in result.group_by('layer').shares()."
        )
    missed = (attribution.values.double().sum(0) - attribution.total.double()).abs() > attribution.tolerance
    if bool(missed.any()):
        raise ValueError("Some rows were left out by select(), and all of them share the logit. Group them instead.")


def _shares(
    read: Float[Tensor, "direction part place"], gram: Float[Tensor, "part part place"], eps: float
) -> Iterator[Float[Tensor, "direction part some"]]:
    """The shares at some places at a time, from what is read of each part and the parts' inner products."""
    n = read.shape[1]
    # Row `s` of `there` says which parts are in coalition `s`: the bits of the number.
    there = (torch.arange(2**n, device=read.device).unsqueeze(-1) >> torch.arange(n, device=read.device)) & 1
    members, size = there.double(), there.sum(-1)
    weight = torch.tensor([1 / (n * math.comb(n - 1, k)) for k in range(n)], dtype=torch.float64, device=read.device)
    for some_read, some_gram in zip(read.split(_POSITIONS, -1), gram.split(_POSITIONS, -1), strict=True):
        squares = torch.stack([((members @ one) * members).sum(-1) for one in some_gram.unbind(-1)], -1)
        values = torch.einsum("sp,dpx->dsx", members, some_read) / (squares.clamp(min=0) + eps).sqrt()
        yield torch.stack([_share(i, values, there, weight, size) for i in range(n)], 1)


def _share(
    i: int,
    values: Float[Tensor, "direction coalition some"],
    there: Tensor,
    weight: Float[Tensor, " size"],
    size: Tensor,
) -> Float[Tensor, "direction some"]:
    """`Σ_S |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))` over the coalitions `S` without part `i`."""
    without = (there[:, i] == 0).nonzero().squeeze(-1)
    gained = values[:, without + 2**i] - values[:, without]
    share: Tensor = torch.einsum("s,dsx->dx", weight[size[without]], gained)
    return share
