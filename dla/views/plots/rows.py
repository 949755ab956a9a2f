"""The numbers of a result as plots and pages take them: rows, what they are at each place, and what they add up to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from dla.decomposers.rows import RowKind
from dla.labels import Label
from dla.provenance import Provenance

_ROUNDING = 1e-4  # of the rows: what is less is no row that is missing


@runtime_checkable
class RowsOfResult(Protocol):
    """What views need of an `Attribution`, each as it is described there."""

    @property
    def parts(self) -> tuple[Label, ...]: ...

    @property
    def values(self) -> Float[Tensor, "part *direction_batch_and_pos"]: ...

    @property
    def total(self) -> Float[Tensor, "*direction_batch_and_pos"]: ...

    @property
    def constant(self) -> Float[Tensor, "*direction_batch_and_pos"]: ...

    @property
    def logit(self) -> Float[Tensor, "*direction_batch_and_pos"]: ...

    @property
    def output_logit(self) -> Float[Tensor, "*direction_batch_and_pos"]: ...

    @property
    def tolerance(self) -> Float[Tensor, "*direction_batch_and_pos"]: ...

    @property
    def positions(self) -> Int[Tensor, "*batch_and_pos"]: ...

    @property
    def provenance(self) -> Provenance: ...


@final
@dataclass(frozen=True, eq=False)
class PlotRows:
    """The rows of a result, in logits and float64.

    Attributes:
        title: What was asked, and how the stream was split.
        parts: The labels.
        values: The contributions in each direction and at each place: every position of every prompt.
        directions: The names of the directions.
        places: For each place its prompt, and its position there.
        tokens: Each prompt's tokens.
        total: What the rows make.
        constant: What no part writes.
        logit: The model's own logit.
        additive: Whether the rows add up.
        following: Whether each place asks for the token that follows it.
    """

    title: str
    parts: tuple[Label, ...]
    values: Float64[np.ndarray, "direction place part"]
    directions: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    tokens: tuple[tuple[str, ...], ...]
    total: Float64[np.ndarray, "direction place"]
    constant: Float64[np.ndarray, "direction place"]
    logit: Float64[np.ndarray, "direction place"]
    additive: bool
    following: bool = False

    @staticmethod
    def of(result: RowsOfResult) -> "PlotRows":
        """The rows of a result, without the places that a short prompt does not have."""
        provenance = result.provenance
        names = provenance.directions or (provenance.direction,)
        positions = result.positions.reshape(-1).cpu()
        there = (positions >= 0).nonzero().flatten().tolist()
        per_prompt = result.positions.shape[-1] if "position" in provenance.dims else 1
        places = tuple((i // per_prompt, int(positions[i])) for i in there)

        def flat(tensor: Float[Tensor, "..."]) -> Float64[np.ndarray, "..."]:
            array: Float64[np.ndarray, "..."] = tensor.detach().to("cpu", torch.float64).numpy()
            return array

        values = flat(result.values).reshape(len(result.parts), len(names), -1)
        total, constant, logit = (
            flat(each).reshape(len(names), -1)[:, there] for each in (result.total, result.constant, result.logit)
        )
        return PlotRows(
            f"{provenance.direction}, {provenance.decomposer}",
            result.parts,
            np.ascontiguousarray(values[:, :, there].transpose(1, 2, 0)),
            names,
            places,
            provenance.tokens,
            total,
            constant,
            logit,
            provenance.row_kind == RowKind.ADDITIVE.value,
            provenance.following,
        )

    @property
    def labels(self) -> list[str]:
        """The labels as text."""
        return [str(part) for part in self.parts]

    @property
    def means(self) -> Float64[np.ndarray, " part"]:
        """The rows of the first direction, averaged over the places."""
        return mean_over(self.values[0], 0)

    @property
    def averaged(self) -> str:
        """Over how much means are taken, as the printed table says it; "" for one place."""
        count = len(self.places)
        return "" if count == 1 else f", mean over {count} positions of {len(self.tokens)} prompts"

    @property
    def mean_title(self) -> str:
        """The title of a plot of means."""
        return self.title + self.averaged

    def place_names(self) -> list[str]:
        """What each place is called: `3 'the'`, with the prompt's number in front if there are several."""
        several = len({prompt for prompt, _ in self.places}) > 1
        return [
            (f"{prompt}: " if several else "") + token_name(position, self.tokens[prompt] if self.tokens else ())
            for prompt, position in self.places
        ]

    def strongest(self, k: int) -> list[int]:
        """Where the `k` rows are that are largest, of either sign, anywhere, in any direction; in their own order."""
        sizes = np.abs(np.nan_to_num(self.values)).max((0, 1), initial=0.0)
        return sorted(np.argsort(-sizes, kind="stable")[:k].tolist())


def not_selected(rows: PlotRows) -> float:
    """What the total has and no row: the sum of the rows that a selection left out. 0 if it is rounding."""
    unseen = float(mean_over(rows.total[0], 0)) - float(np.nansum(rows.means))
    return unseen if rows.additive and abs(unseen) > _ROUNDING * float(np.nansum(np.abs(rows.means))) else 0.0


def token_name(position: int, tokens: Sequence[str]) -> str:
    """A token by its position and its text, which may occur more than once."""
    return f"{position} {tokens[position]!r}" if 0 <= position < len(tokens) else str(position)


def mean_over(values: Float64[np.ndarray, "..."], axis: int) -> Float64[np.ndarray, "..."]:
    """The mean of what is no NaN; NaN where there is nothing."""
    known = ~np.isnan(values)
    counts = known.sum(axis)
    sums = np.where(known, values, 0.0).sum(axis)
    means: Float64[np.ndarray, "..."] = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return means
