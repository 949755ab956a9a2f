"""A product with a large weight, which is read once and never copied whole.

A weight in half precision is converted block by block, in memory that stays in the cache of a CPU: a copy of the whole
would take twice the memory of the weight itself, and most of the time would be spent on making it.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_ENTRIES = 2**18  # of one block, on a CPU; half and twice as many take as long

_ENTRIES_ELSEWHERE = 2**24


def product_and_norms(
    x: Float[Tensor, "*axes d_in"], weight: Float[Tensor, "d_in d_out"]
) -> tuple[Float[Tensor, "*axes d_out"], Float[Tensor, " d_out"]]:
    """`x @ weight` and the norm of each column of the weight, in the dtype of `x`.

    Args:
        x: The vectors.
        weight: The weight, in any dtype; on the device of `x` or another.
    """
    rows, weight = x.flatten(0, -2), weight.detach()
    by_column = weight.stride(0) == 1
    if by_column and weight.dtype == x.dtype and weight.device == x.device:
        product, norms = rows @ weight, weight.norm(dim=0)
    else:
        product, norms = (_by_columns if by_column else _by_rows)(rows, weight)
    return product.unflatten(0, x.shape[:-1]), norms


def _by_columns(
    x: Float[Tensor, "row d_in"], weight: Float[Tensor, "d_in d_out"]
) -> tuple[Float[Tensor, "row d_out"], Float[Tensor, " d_out"]]:
    blocks = weight.T.split(_length(x, weight.shape[0]))
    held, products, norms = x.new_empty(blocks[0].shape), [], []
    for block in blocks:
        converted = held[: len(block)].copy_(block)
        products.append(x @ converted.T)
        norms.append(converted.norm(dim=1))
    return torch.cat(products, 1), torch.cat(norms)


def _by_rows(
    x: Float[Tensor, "row d_in"], weight: Float[Tensor, "d_in d_out"]
) -> tuple[Float[Tensor, "row d_out"], Float[Tensor, " d_out"]]:
    blocks = weight.split(_length(x, weight.shape[1]))
    held, ones = x.new_empty(blocks[0].shape), x.new_ones(1, len(blocks[0]))
    product, squares = x.new_zeros(len(x), weight.shape[1]), x.new_zeros(1, weight.shape[1])
    for block, part in zip(blocks, x.split(len(blocks[0]), 1), strict=True):
        converted = held[: len(block)].copy_(block)
        product.addmm_(part, converted)
        # A product with ones, since a sum over rows reads the memory against its order.
        squares.addmm_(ones[:, : len(block)], converted.square_())
    return product, squares[0].sqrt_()


def _length(x: Tensor, width: int) -> int:
    return max(1, (_ENTRIES if x.device.type == "cpu" else _ENTRIES_ELSEWHERE) // width)
