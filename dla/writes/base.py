"""The interface of a write: which activations it reads, and how they become parts of the stream."""

import abc
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dla.inputs.given import shown
from dla.labels import Label
from dla.writes.blocks import product
from dla.writes.routes import Activations
from dla.writes.sites import Site


class Write(abc.ABC):
    """Parts of the residual stream that are computed from the same activations.

    Law: for any activations and direction, `contract(activations, direction)` equals the dot product of
    `vectors(activations)` with the direction. A write depends on the activations of `reads` and on nothing else.
    """

    @property
    @abc.abstractmethod
    def labels(self) -> Sequence[Label]:
        """The names of its parts, in the order of the first axis of what it returns."""

    @property
    @abc.abstractmethod
    def reads(self) -> tuple[Site, ...]:
        """Every site that it needs."""

    @abc.abstractmethod
    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        """The dot product of the direction with each part."""

    @abc.abstractmethod
    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        """The vector that each part adds to the residual stream that enters the final norm."""


def check_labels(parts: Sequence[object], count: int | None = None) -> None:
    """Checks the labels of a write.

    Args:
        parts: The labels.
        count: How many parts there are, where that is known.

    Raises:
        TypeError: If one is no label.
        ValueError: If there are more or fewer than parts.
    """
    for part in parts:
        if not isinstance(part, Label):
            raise TypeError(f"{shown(part)} is no label of a part. Pass a Label, such as Label('head', 9, 6).")
    if count is not None and count != len(parts):
        raise ValueError(f"There are {len(parts)} labels for {count} parts. Pass one for each.")


def pull_through(
    direction: Float[Tensor, "*more d_model"], weights: Float[Tensor, "part d_in d_model"]
) -> Float[Tensor, "*more part d_in"]:
    """`weights[h] @ direction` for each part `h`, in one matrix product."""
    # [... d_model] -> [... part * d_in] -> [... part d_in]
    pulled: Tensor = product(direction, weights.flatten(0, 1).T).unflatten(-1, weights.shape[:2])
    return pulled


def dot(left: Float[Tensor, "*more d"], right: Float[Tensor, "*others d"]) -> Float[Tensor, "*broadcast"]:
    """The dot product over the last axis."""
    # Not `(left * right).sum(-1)`, which first makes a tensor as large as all activations.
    product: Tensor = torch.linalg.vecdot(left, right)
    return product
