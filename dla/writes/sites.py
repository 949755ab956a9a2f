"""Sites: the activations that a write reads, and the positions of them that are asked about."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from jaxtyping import Int
from torch import Tensor


def as_it_is(activation: Tensor) -> Tensor:
    """The activation, unchanged."""
    return activation


@final
@dataclass(frozen=True, slots=True)
class Site:
    """One activation of the model, under the hook name that TransformerLens gives it.

    Attributes:
        name: The hook name, which is also its key in an `ActivationCache`.
        position_axis: The axis of the position that is attributed, where only some positions are wanted;
            None if the write needs every position (as keys and values do).
        read: Brings what the hook shows into the layout that the write expects, such as
            `[batch, pos, head, d_head]`.
        flattened: Whether the hook shows batch and position as one axis, which is split before `read`.
    """

    name: str
    position_axis: int | None = 1
    read: Callable[[Tensor], Tensor] = as_it_is
    flattened: bool = False


def take_rows(activation: Tensor, rows: Int[Tensor, "batch query"], axis: int) -> Tensor:
    """The wanted positions of each prompt, along the position axis."""
    rows = rows.to(activation.device)
    if bool((rows == rows[:1]).all()):
        return activation.index_select(axis, rows[0])
    shape, sizes = [1] * activation.ndim, list(activation.shape)
    shape[0], shape[axis] = rows.shape
    sizes[axis] = rows.shape[1]
    return activation.gather(axis, rows.reshape(shape).expand(sizes))
