"""Tokens and tensors that a direction is given, with a batch and a position axis each."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from dla.prompts import Positions, Prompts

Tokens = str | int | Sequence[str | int] | Tensor


def ids_of(tokens: Tokens, prompts: Prompts, positions: Positions) -> Int[Tensor, "#batch #pos"]:
    """Ids with a batch and a position axis, each of size 1 where the token is the same for all."""
    if isinstance(tokens, str | int):
        return torch.tensor([[prompts.vocabulary.token(tokens)]])
    if not isinstance(tokens, Tensor):
        tokens = torch.tensor([prompts.vocabulary.token(token) for token in tokens])
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise TypeError(f"Token ids must be integers; the tensor has dtype {tokens.dtype}.")
    check_shape(tokens.shape, prompts, positions, "The token tensor")
    for extreme in (tokens.min(), tokens.max()):
        prompts.vocabulary.token(int(extreme))
    ids = tokens.detach().long().cpu()
    return ids[None, None] if ids.ndim == 0 else ids[:, None] if ids.ndim == 1 else ids


def check_shape(shape: Sequence[int], prompts: Prompts, positions: Positions, what: str) -> None:
    """Whether axes stand for prompts and positions.

    Raises:
        ValueError: If they do not fit.
    """
    kept = positions.index.shape[1]
    wanted = ((), (prompts.batch,), (prompts.batch, kept))
    if len(shape) > 2 or tuple(shape) != wanted[len(shape)]:
        raise ValueError(
            f"{what} has shape {list(shape)}. For {prompts.batch} prompts at {kept} positions pass shape [] (the same "
            f"for all), [{prompts.batch}] (one a prompt) or [{prompts.batch}, {kept}] (one a prompt and position)."
        )


def words(tokens: Tokens) -> str:
    """The tokens as a reader wants to see them; a few, where there are many."""
    if isinstance(tokens, Tensor):
        return f"tokens {list(tokens.shape)}" if tokens.ndim else str(int(tokens))
    if isinstance(tokens, str | int):
        return repr(tokens)
    words = [repr(token) for token in tokens]
    return ", ".join(words if len(words) <= 4 else [*words[:3], f"... ({len(words)} tokens)"])
