"""What the logit would lose without each part, the final norm's reaction included."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.decomposers.rows import RowKind
from dla.inputs.arguments import choice
from dla.inputs.given import Count, count
from dla.results.attributed import AttributedRows
from dla.results.attribution_table import mean_by_row
from dla.results.removal import reactions
from dla.results.rerun import Rerun
from dla.results.tables import TablePerDirection
from dla.text import shortened
from dla.views.dataset import frame_of
from dla.views.grid import Grid, Line, signed
from dla.views.plots.scatter import effects_scatter

if TYPE_CHECKING:
    import pandas
    import xarray


@final
@dataclass(frozen=True, eq=False)
class DirectEffects(TablePerDirection):
    """What the logit would lose without each part: the part is taken out of the stream that enters the final norm.

    Nothing else changes: later parts stay as they are, and only the norm's scale reacts. Effects of several parts do
    not add up, since each has a reaction of its own; group the rows first to see the effect of a group.

    All tensors are in logits and have the axes of the attribution's `values`.

    Attributes:
        attribution: The rows and their values.
        effects: `logit(with all parts) - logit(without the part)`.
        tolerance: How far rounding may have moved an effect.

    In half precision the row of what is rounded away holds also what the readout rounds, which comes after the norm:
    its effect is that of taking out both.
    """

    attribution: AttributedRows
    effects: Float[Tensor, "part *direction_batch_and_pos"]
    tolerance: Float[Tensor, "part *direction_batch_and_pos"]

    @staticmethod
    def of(attribution: AttributedRows, rerun: Rerun) -> "DirectEffects":
        """The effects of an attribution's rows, after one more run of the model.

        Args:
            attribution: The rows.
            rerun: Where they come from.

        Raises:
            RunChangedError: If the model does not run any more as it did.
            ValueError: If the rows do not add up.
        """
        values, row_kind = attribution.values, attribution.provenance.row_kind
        if row_kind != RowKind.ADDITIVE.value:
            raise ValueError(f"The rows are {row_kind}; none is a part that could be removed.")
        found = reactions(rerun, attribution.parts)

        def like_values(numbers: Float[Tensor, "part batch query"]) -> Float[Tensor, "part *direction_batch_and_pos"]:
            directions = len(attribution.directions) or 1
            return numbers.unsqueeze(1).expand(-1, directions, -1, -1).reshape(values.shape).to(values.device)

        change, error = like_values(found.change), like_values(found.error)
        others = values - found.read.to(values).reshape(values.shape[1:])
        effects = torch.addcmul(values, change.to(values), others)
        # In place: with many neurons at many positions, the time goes into making tensors.
        allowed = others.abs_().mul_(error).add_(attribution.tolerance).mul_(1 + change)
        return DirectEffects(attribution, effects, allowed)

    @property
    def labels(self) -> list[str]:
        """The labels of the rows."""
        return self.attribution.labels

    @property
    def values(self) -> Float[Tensor, "part *direction_batch_and_pos"]:
        """What each part contributes, with the norm's scale frozen."""
        return self.attribution.values

    @property
    def reactions(self) -> Float[Tensor, "part *direction_batch_and_pos"]:
        """What the norm's reaction adds to the value: `effects - values`."""
        return self.effects - self.values

    @property
    def directions(self) -> list[str]:
        """The names of the directions, if several were asked for."""
        return self.attribution.directions

    def direction(self, name: str) -> "DirectEffects":
        """The effects on one of several directions.

        Raises:
            ValueError: If none has that name.
        """
        one, i = self.attribution.direction(name), self.attribution.directions.index(name)
        return DirectEffects(one, self.effects[:, i], self.tolerance[:, i])

    def top(self, k: Count = 5, *, by: str = "abs") -> list[tuple[str, float]]:
        """The `k` parts with the largest effects, on average over prompts and positions.

        Args:
            k: How many.
            by: "abs" for the largest of either sign, "value" for the most positive, "reaction" for those to whose
                removal the norm reacts most, of either sign.

        Raises:
            TypeError: If `k` is not a whole number.
            ValueError: If several directions were asked for, `k` is negative, or `by` is none of these.
        """
        k = count(k, "k", "parts", least=0)
        effects, reactions = mean_by_row(self.attribution, self.effects), mean_by_row(self.attribution, self.reactions)
        orders = {"abs": effects.abs(), "value": effects, "reaction": reactions.abs()}
        best = orders[choice(by, "by", tuple(orders))].argsort(descending=True, stable=True)[:k].tolist()
        return [(self.labels[i], float((reactions if by == "reaction" else effects)[i])) for i in best]

    def to_xarray(self) -> "xarray.Dataset":
        """The attribution's dataset, with the variables `direct_effect` and `norm_reaction`."""
        data = self.attribution.to_xarray()
        added: dict[str, Any] = {"direct_effect": self.effects, "norm_reaction": self.reactions}
        dims = data["values"].dims
        return data.assign({name: (dims, tensor.detach().cpu().numpy()) for name, tensor in added.items()})

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row for each part, direction, prompt and position: value, direct_effect, norm_reaction."""
        return frame_of(self.to_xarray(), ["values", "direct_effect", "norm_reaction"])

    def plot(self) -> Any:
        """Values against direct effects, a point a row, as a figure of plotly.

        Raises:
            MissingPackageError: If plotly is not installed.
            ValueError: If several directions were asked for.
        """
        return effects_scatter(self._grid(0).title, self.to_dataframe())

    def __repr__(self) -> str:
        provenance = self.attribution.provenance
        return f"DirectEffects({shortened(provenance.direction)}, {provenance.decomposer}: {len(self.labels)} parts)"

    def _grid(self, shown: int) -> Grid:
        values, effects = mean_by_row(self.attribution, self.values), mean_by_row(self.attribution, self.effects)
        order = effects.abs().argsort(descending=True, stable=True)[:shown].tolist()
        lines = tuple(
            Line(
                self.labels[i],
                (signed(float(values[i])), signed(float(effects[i])), signed(float(effects[i] - values[i]))),
                float(effects[i]),
            )
            for i in order
        )
        provenance = self.attribution.provenance
        return Grid(
            f"{provenance.direction}, {provenance.decomposer}: without each part",
            ("value", "direct effect", "norm's reaction"),
            (lines,),
            note="Each effect is that of one part alone; effects of several do not add up. Rounding moves none by more "
            f"than {float(self.tolerance.nan_to_num().max()):.1e}.",
        )
