"""What `encode` gives: one number a feature, of each position alone."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dla.errors import UnsupportedModelError

_FEW = 3
"""So many features may differ between a position alone and the same one among others: roundings at a threshold."""

_NEAR = 1e-2
"""By how much of the largest feature two values of one may differ."""


def encoded(source: Any, x: Float[Tensor, "batch pos *d_in"]) -> Float[Tensor, "batch pos feature"]:
    """The features that a dictionary gives, one a row of its `W_dec`.

    Raises:
        TypeError: If `encode` gives something else.
    """
    given, count = source.encode(x), len(source.W_dec)
    acts, indices = getattr(given, "top_acts", None), getattr(given, "top_indices", None)
    if isinstance(acts, Tensor) and isinstance(indices, Tensor):  # sparsify keeps only the features that are active
        given = acts.new_zeros(*acts.shape[:-1], count).scatter_(-1, indices.long(), acts)
    if not isinstance(given, Tensor) or tuple(given.shape) != (*x.shape[:2], count):
        shape = f"of shape {list(given.shape)}" if isinstance(given, Tensor) else ""
        raise TypeError(
            f"{type(source).__name__}.encode gave a {type(given).__name__} {shape} for {x.shape[0]} prompts of "
            f"{x.shape[1]} positions. It must give a tensor [batch, pos, feature] with a feature for each of the "
            f"{count} rows of W_dec, or a tuple with the fields top_acts and top_indices."
        )
    return given.to_dense() if given.is_sparse else given


def encoded_alone(
    source: Any, x: Float[Tensor, "batch pos *d_in"]
) -> list[tuple[int, int, Float[Tensor, "1 1 feature"]]]:
    """The features of some positions, each given to the dictionary alone: the first, the last, and the smallest.

    Raises:
        TypeError: As `encoded`.
    """
    batch, width = x.shape[:2]
    if batch * width <= 1:
        return []
    smallest = int(x.flatten(2).norm(dim=-1).argmin())
    places = dict.fromkeys([(0, 0), (batch - 1, width - 1), divmod(smallest, width)])
    return [(b, p, encoded(source, x[b : b + 1, p : p + 1])) for b, p in places]


def check_alone(
    source: Any,
    alone: list[tuple[int, int, Float[Tensor, "1 1 feature"]]],
    together: Float[Tensor, "batch pos feature"],
) -> None:
    """Refuses a dictionary whose features of a position depend on what else is given to it.

    Args:
        source: The dictionary.
        alone: The features of some positions, each encoded alone.
        together: Those of all positions at once.

    Raises:
        UnsupportedModelError: If they are not the same.
    """
    for b, p, features in alone:
        one, other = features[0, 0].double(), together[b, p].double()
        size = torch.maximum(one.abs().max(), other.abs().max())
        differing = int(((one - other).abs() > _NEAR * size).sum())
        by_rounding = _FEW + 0.1 * len(one) * torch.finfo(together.dtype).eps
        length = torch.maximum(one.norm(), other.norm())
        if differing > by_rounding or bool((one - other).norm() > 0.5 * length):
            raise UnsupportedModelError(_dependent(type(source).__name__, differing, len(one)))


def _dependent(name: str, differing: int, count: int) -> str:
    return (
        f"{name}.encode does not treat each position alone: {differing} of {count} features are others when a position "
        "is encoded without the rest of the batch. A batch top-k chooses over the whole batch while it trains; use its "
        "inference form, with one threshold a feature. Of SAELens: sae.save_inference_model(path), then "
        "SAE.load_from_disk(path), which gives a JumpReLUSAE. In an SAE of your own, take the top k, and any mean, "
        "within each position."
    )
