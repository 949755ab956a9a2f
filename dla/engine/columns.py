"""The proof that columns of `W_U` give the model's own logits, wherever the model was made to unembed."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.engine.query import Query
from dla.engine.readout import DirectionAtReadout
from dla.errors import ReconstructionError
from dla.tolerances import COLUMN_TOLERANCE


def check_columns(
    query: Query,
    directions: Sequence[DirectionAtReadout],
    stream: Float[Tensor, "batch some d_model"],
    logits: Float[Tensor, "batch some d_vocab"],
    where: Int[Tensor, " some"],
) -> None:
    """Compares the columns that are asked about with the model's own logits.

    Args:
        query: What is asked.
        directions: Its directions.
        stream: What was unembedded, in the precision of the sums.
        logits: What the model made of it.
        where: Which of the positions asked about these are.

    Raises:
        ReconstructionError: If they differ by more than rounding.
    """
    misses = [_miss(direction, stream, logits, where) for direction in directions]
    missed, allowed = max(misses, default=0.0), COLUMN_TOLERANCE * query.model.anatomy.eps
    if not missed <= allowed:
        raise ReconstructionError(
            f"The columns of W_U that are asked about miss the model's own logits by {missed:.1e} of what adds up "
            f"(allowed: {allowed:.1e}). Pass unembed='all', so that every logit is the model's own."
        )


def _miss(
    direction: DirectionAtReadout,
    stream: Float[Tensor, "batch some d_model"],
    logits: Float[Tensor, "batch some d_vocab"],
    where: Int[Tensor, " some"],
) -> float:
    """By how much, relative to what adds up in each, the columns miss the logits, at most."""
    terms, size = direction.columns_of(stream, where)
    miss = (direction.own_columns(logits, where) - terms).abs() / size.clamp(min=torch.finfo(size.dtype).tiny)
    return float(miss.max()) if miss.numel() else 0.0
