"""Sites: the activations that a write reads, and how the positions that are attributed are taken out of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from jaxtyping import Int, Shaped
from torch import Tensor

from dla.inputs.arguments import check_fields, function


def as_it_is(activation: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """The activation, unchanged."""
    return activation


@final
@dataclass(frozen=True, slots=True)
class Site:
    """One activation of the model, under the hook name that TransformerLens gives it.

    Attributes:
        name: The hook name, which is also its key in an `ActivationCache`.
        position_axis: The axis of the positions that are attributed; None if the write needs every position, as it
            does of values.
        read: Brings what the hook shows into the layout that the write expects, such as `[batch pos head d_head]`.
        flattened: Whether the hook shows batch and position as one axis, which is split before `read`.
    """

    name: str
    position_axis: int | None = 1
    read: Callable[[Shaped[Tensor, "..."]], Shaped[Tensor, "..."]] = as_it_is
    flattened: bool = False

    def __post_init__(self) -> None:
        check_fields(self, name=str, position_axis=(int, type(None)), flattened=bool)
        function(self.read, "Site: read", "one that brings an activation into the layout of a write")

    def laid_out(self, activation: Shaped[Tensor, "..."], batch: int, width: int) -> Shaped[Tensor, "batch ..."]:
        """What the hook shows, in the layout that a write expects.

        Args:
            activation: What the hook shows, or what a cache keeps of it.
            batch: The number of prompts.
            width: How many positions they have.
        """
        if self.flattened and tuple(activation.shape[:2]) != (batch, width):  # a cache has split it
            activation = activation.unflatten(0, (batch, -1))
        return self.read(activation)


def take_rows(
    activation: Shaped[Tensor, "batch ..."], rows: Int[Tensor, "batch query"], axis: int
) -> Shaped[Tensor, "batch ..."]:
    """Some positions of each prompt.

    Args:
        activation: What is read.
        rows: The positions.
        axis: The axis of positions.
    """
    rows = rows.to(activation.device)
    # The same positions in all prompts, as with prompts of one length: `gather` would be several times slower.
    if bool((rows == rows[:1]).all()):
        return activation.index_select(axis, rows[0])
    # `gather` wants an index of the full shape: batch and position from `rows`, every other axis repeated.
    shape, sizes = [1] * activation.ndim, list(activation.shape)
    shape[0], shape[axis] = rows.shape
    sizes[axis] = rows.shape[1]
    return activation.gather(axis, rows.reshape(shape).expand(sizes))
