"""A product with a large weight, which is read once and never copied whole.

A weight in half precision is converted block by block, in memory that stays in the cache of a CPU: a copy of the whole
would take twice the memory of the weight itself, and most of the time would be spent on making it.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

_ENTRIES = 2**18  # of one block, on a CPU; half and twice as many take as long

_ENTRIES_ELSEWHERE = 2**24

_SOME_ROWS = 64

_FEW = 16  # vectors


def product(x: Float[Tensor, "*axes d_in"], weight: Float[Tensor, "d_in d_out"]) -> Float[Tensor, "*axes d_out"]:
    """`x @ weight` in the dtype of `x`.

    Args:
        x: The vectors.
        weight: The weight, in any dtype.
    """
    result: Tensor
    rows = x.flatten(0, -2)
    if weight.dtype == x.dtype and len(rows) <= _FEW and _by_column(weight):
        # With the weight in front it is read in half the time.
        result = (weight.T @ rows.T).T.unflatten(0, x.shape[:-1])
    elif weight.dtype == x.dtype or (torch.is_grad_enabled() and x.requires_grad):
        result = linear(x, weight.T.to(x))
    else:
        result = _in_blocks(rows, weight.detach(), None).unflatten(0, x.shape[:-1])
    return result


def product_and_norms(
    x: Float[Tensor, "*axes d_in"], weight: Float[Tensor, "d_in d_out"]
) -> tuple[Float[Tensor, "*axes d_out"], Float[Tensor, " d_out"]]:
    """`x @ weight` and the norm of each column of the weight, in the dtype of `x`.

    Args:
        x: The vectors.
        weight: The weight, in any dtype.
    """
    weight = weight.detach()
    if _by_column(weight) and weight.dtype == x.dtype:
        return x @ weight, weight.norm(dim=0)
    squares = x.new_zeros(1, weight.shape[1])
    products = _in_blocks(x.flatten(0, -2), weight, squares)
    return products.unflatten(0, x.shape[:-1]), squares[0].sqrt_()


def norms_of_some_rows(weight: Float[Tensor, "d_in d_out"], like: Float[Tensor, "..."]) -> Float[Tensor, " d_out"]:
    """The norm of each column, of a few rows alone: at most what it is of all rows.

    Args:
        weight: The weight, in any dtype.
        like: A tensor of the dtype to compute in.
    """
    norms: Tensor = weight.detach()[:_SOME_ROWS].to(like).norm(dim=0)
    return norms


def _in_blocks(
    x: Float[Tensor, "row d_in"], weight: Float[Tensor, "d_in d_out"], squares: Float[Tensor, "1 d_out"] | None
) -> Float[Tensor, "row d_out"]:
    """`x @ weight`; adds the squares of the weight's entries to `squares`, column by column."""
    result, by_column = x.new_zeros(len(x), weight.shape[1]), _by_column(weight)
    entries = _ENTRIES if x.device.type == "cpu" else _ENTRIES_ELSEWHERE
    # At least as wide as there are vectors, since the vectors or their results are gone through for each block.
    across, along = weight.shape if by_column else weight.shape[::-1]
    width = min(along, max(len(x), entries // across, 1))
    if by_column:
        held = x.new_empty(width, weight.shape[0])
        for start in range(0, weight.shape[1], width):
            # The transposed block, which is how it lies in memory.
            block = weight[:, start : start + width].T
            converted = held[: len(block)].copy_(block)
            result[:, start : start + width] = x @ converted.T
            if squares is not None:
                squares[0, start : start + width] = converted.norm(dim=1).square_()
        return result
    held, ones = x.new_empty(width, weight.shape[1]), x.new_ones(1, width)
    for start in range(0, weight.shape[0], width):
        block = weight[start : start + width]
        converted = held[: len(block)].copy_(block)
        result.addmm_(x[:, start : start + width], converted)
        if squares is not None:
            # A product with ones, since a sum over rows reads the memory against its order.
            squares.addmm_(ones[:, : len(block)], converted.square_())
    return result


def _by_column(weight: Float[Tensor, "d_in d_out"]) -> bool:
    return weight.stride(0) == 1
