"""What some parts add to the stream that enters the final norm, found in one run."""

from collections.abc import Callable, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.base import Observer
from dla.decomposers.rows import Rows, rows_where
from dla.engine.contraction import Contraction
from dla.engine.forward import before_norm, directions_of
from dla.engine.query import Query
from dla.labels import Label


@final
class PartVectors:
    """The vectors of some rows of a query, once its model has run under `observers`.

    A part's value is linear in the direction, so its vector is the gradient of the value by the direction. That holds
    for every kind of row, and builds the vectors of these rows alone.
    """

    def __init__(self, query: Query, labels: Sequence[Label]) -> None:
        """Waits for a run.

        Args:
            query: What was asked.
            labels: The rows.
        """
        wanted = set(labels)
        steps = [
            step
            for step in query.plan.steps(query.prompts)
            if step.reductions or not wanted.isdisjoint(step.write.labels)
        ]
        self._shape = query.positions.index.shape
        self._reads = direction_reads(query).requires_grad_()
        self._contraction = Contraction(steps, self._reads, query.select)

    def observers(self) -> dict[str, Observer]:
        """What to call with activations, by hook name."""
        return dict(self._contraction.observers())

    def row(self, label: Label) -> Float[Tensor, "direction batch query"]:
        """What the directions read of a row, before the division by the final norm's scale; it has gradients."""
        with torch.enable_grad():
            rows = self._contraction.rows(*self._shape)
            return torch.stack([_of(label, each) for each in rows]).sum(0)

    def vector(self, label: Label) -> Float[Tensor, "batch query d_model"]:
        """The row's vector."""
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self.row(label).sum(), self._reads, retain_graph=True)
        vector: Tensor = gradient[0]
        return vector


def direction_reads(query: Query) -> Float[Tensor, "direction batch query d_model"]:
    """What the directions read of the stream before the final norm, at each position."""
    return before_norm(directions_of(query)).detach().expand(-1, *query.positions.index.shape, -1).clone()


def _of(label: Label, rows: Rows) -> Float[Tensor, "direction batch query"]:
    same: Callable[[Label], bool] = label.__eq__
    values: Tensor = rows_where(rows, same).values.sum(0)
    return values
