"""What a direction resolved to: shapes, dtypes, tokens, and that something is read at all."""

from collections.abc import Iterator

import torch
from jaxtyping import Shaped
from torch import Tensor

from dla.adapters.anatomy import Anatomy
from dla.directions import ResolvedDirection


def words_of_resolved(resolved: ResolvedDirection) -> str:
    """What is read, in words."""
    count = resolved.ids.shape[-1] if resolved.ids.ndim else 0
    parts = [f"{count} token{'' if count == 1 else 's'}"]
    parts += [] if resolved.dense is None else ["a weight for each token"]
    parts += [] if resolved.vector is None else [f"a vector at {resolved.at or 'the final norm'}"]
    return " and ".join(parts)


def problem_of_resolved(resolved: ResolvedDirection, anatomy: Anatomy, shape: tuple[int, int]) -> str:
    """What is wrong with a resolved direction; empty if nothing is.

    Args:
        resolved: What `resolve` gave.
        anatomy: The model's.
        shape: How many prompts and positions were asked about.
    """
    return next(_wrong(resolved, anatomy, shape), "")


def _wrong(resolved: ResolvedDirection, anatomy: Anatomy, shape: tuple[int, int]) -> Iterator[str]:
    ids, weights, W_U = resolved.ids, resolved.weights, anatomy.unembedding.W_U
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        yield f"ids have dtype {ids.dtype}; expected whole numbers, torch.long."
    if ids.ndim != 3 or weights.ndim != 1 or ids.shape[-1] != len(weights):
        shapes = f"ids have shape {list(ids.shape)} and weights {list(weights.shape)}"
        yield f"{shapes}; expected [batch pos term] and [term]."
    elif ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= W_U.shape[1]):
        yield f"it asks for token {int(ids.max())}; ids run from 0 to {W_U.shape[1] - 1}."
    for name, tensor, width, axis in (
        ("vector", resolved.vector, W_U.shape[0], "d_model"),
        ("dense", resolved.dense, W_U.shape[1], "d_vocab"),
    ):
        if tensor is not None and (tensor.ndim != 3 or tensor.shape[-1] != width):
            yield f"{name} has shape {list(tensor.shape)}; expected [batch pos {axis}], with {axis}={width}."
    for name, given in (("ids", ids), ("vector", resolved.vector), ("dense", resolved.dense)):
        if given is not None and any(size not in (1, most) for size, most in zip(given.shape[:2], shape, strict=True)):
            asked = f"{shape[0]} prompts and {shape[1]} positions"
            yield f"{name} has shape {list(given.shape)} for {asked}; expected these or 1."
    for name, numbers in (("weights", weights), ("vector", resolved.vector), ("dense", resolved.dense)):
        yield from [] if numbers is None else _of_numbers(name, numbers)
    if not _reads(resolved):
        yield "nothing is read: no token has a weight other than 0, and no vector is there."


def _of_numbers(name: str, numbers: Shaped[Tensor, "..."]) -> Iterator[str]:
    if numbers.dtype not in (torch.float32, torch.float64):
        yield f"{name} has dtype {numbers.dtype}; expected float32 or float64: what is asked must not be rounded."
    elif not bool(numbers.isfinite().all()):
        yield f"{name} holds numbers that are infinite or NaN."


def _reads(resolved: ResolvedDirection) -> bool:
    others = (tensor for tensor in (resolved.vector, resolved.dense) if tensor is not None)
    weighed = bool(resolved.ids.numel()) and bool((resolved.weights != 0).any())
    return weighed or any(bool((tensor != 0).any()) for tensor in others)
