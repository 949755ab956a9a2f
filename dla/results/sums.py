"""Whether rows make the total that they are shown with."""

from jaxtyping import Float
from torch import Tensor, finfo

from dla.decomposers.rows import RowKind
from dla.engine.forward import total_of
from dla.tolerances import TOLERANCE


def adds_up(
    values: Float[Tensor, "part *more"], total: Float[Tensor, "*more"], tolerance: Float[Tensor, "*more"], row_kind: str
) -> bool:
    """Whether the rows make the total, up to rounding; those of a selection do not. NaN is compared with nothing.

    Args:
        values: The rows.
        total: What they are to make.
        tolerance: How far the rows may be from the model's own logit.
        row_kind: The value of a `RowKind`.

    Raises:
        ValueError: If there is no such kind.
    """
    missed = (total_of(values, RowKind(row_kind)) - total).abs()
    return not bool((missed > tolerance + TOLERANCE * finfo(values.dtype).eps * values.abs().sum(0)).any())
