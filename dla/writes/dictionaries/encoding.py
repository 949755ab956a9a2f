"""Calling `encode` of a dictionary: it must give one number per feature, from each position on its own."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dla.errors import UnsupportedModelError

# So many features of a position may differ when it is alone: rounding moves some over their threshold.
_FEW = 3

_NEAR = 1e-2  # how far two values of one feature may differ, relative to the largest feature


def name_of_dictionary(source: Any, at: str) -> str:
    """A dictionary, as messages name it."""
    return f"The dictionary of {at!r}: {type(source).__name__}"


def encode_features(source: Any, x: Float[Tensor, "batch pos *d_in"], name: str) -> Float[Tensor, "batch pos feature"]:
    """The features that a dictionary gives, one for each row of its `W_dec`.

    Args:
        source: The dictionary.
        x: What it reads.
        name: What messages call it.

    Raises:
        TypeError: If `encode` gives something else.
        ValueError: If it cannot take the activations.
    """
    try:
        given, count = source.encode(x), len(source.W_dec)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        axes, why = "[batch, pos, d_in]" if x.ndim == 3 else "[batch, pos, head, d_head]", str(error).rstrip(".")
        raise ValueError(
            f"{name}.encode raised {type(error).__name__} for activations {axes} of shape {list(x.shape)}: {why}. "
            "It must take these, and give [batch, pos, feature]; was it made for this model and this hook?"
        ) from error
    acts, indices = getattr(given, "top_acts", None), getattr(given, "top_indices", None)
    if isinstance(acts, Tensor) and isinstance(indices, Tensor):  # sparsify keeps only the features that are active
        given = acts.new_zeros(*acts.shape[:-1], count).scatter_(-1, indices.long(), acts)
    if not isinstance(given, Tensor) or given.is_nested or tuple(given.shape) != (*x.shape[:2], count):
        shape = f"of shape {list(given.shape)}" if isinstance(given, Tensor) and not given.is_nested else ""
        raise TypeError(
            f"{name}.encode gave a {type(given).__name__} {shape} for {x.shape[0]} prompts of "
            f"{x.shape[1]} positions. It must give a tensor [batch, pos, feature] with a feature for each of the "
            f"{count} rows of W_dec, or a tuple with the fields top_acts and top_indices."
        )
    return given.to_dense() if given.is_sparse else given


def encoded_each(source: Any, x: Float[Tensor, "batch pos *d_in"], name: str) -> Float[Tensor, "batch pos feature"]:
    """The features of a dictionary, compared with those of single positions: the first, the last and the smallest.

    Args:
        source: The dictionary.
        x: What it reads.
        name: What messages call it.

    Raises:
        TypeError: As `encode_features`.
        ValueError: As `encode_features`.
        UnsupportedModelError: If a position's features depend on what else is given to it, or on chance.
    """
    batch, width = x.shape[:2]
    # In a top-k over the batch the large positions take the features of the small ones, which show it most.
    smallest = int(x.flatten(2).norm(dim=-1).argmin())
    places = {(0, 0), (batch - 1, width - 1), divmod(smallest, width)} if batch * width > 1 else set()
    alone = {(b, p): encode_features(source, x[b : b + 1, p : p + 1], name)[0, 0] for b, p in sorted(places)}
    together = encode_features(source, x, name)
    for (b, p), features in alone.items():
        differing = _differing(features, together[b, p])
        if differing is not None:
            again = encode_features(source, x, name)
            if any(_differing(again[place], together[place]) is not None for place in alone):
                raise UnsupportedModelError(_changing(name))
            raise UnsupportedModelError(_dependent(name, differing, len(features)))
    return together


def _differing(one: Float[Tensor, " feature"], other: Float[Tensor, " feature"]) -> int | None:
    """How many features differ; None where that may be rounding."""
    one, other, eps = one.double(), other.double(), torch.finfo(other.dtype).eps
    size = torch.maximum(one.abs().max(), other.abs().max())
    differing = int(((one - other).abs() > _NEAR * size).sum())
    length = torch.maximum(one.norm(), other.norm())
    # The coarser the dtype, the more features are moved over their threshold by rounding.
    beyond = differing > _FEW + 0.1 * len(one) * eps or bool((one - other).norm() > 0.5 * length)
    return differing if beyond else None


def _changing(name: str) -> str:
    return (
        f"{name}.encode gives other features when the same activations are given to it again, so no feature is known. "
        "Dropout or noise of its training may still be on: call its eval() first. It may keep nothing between calls."
    )


def _dependent(name: str, differing: int, count: int) -> str:
    return (
        f"{name}.encode does not treat each position alone: {differing} of {count} features are others when a position "
        "is encoded without the rest of the batch. A batch top-k chooses over the whole batch while it trains; use its "
        "inference form, with one threshold a feature. Of SAELens: sae.save_inference_model(path), then "
        "SAE.load_from_disk(path), which gives a JumpReLUSAE. In an SAE of your own, take the top k, and any mean, "
        "within each position."
    )
