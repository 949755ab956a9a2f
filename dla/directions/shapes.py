"""The tokens and vectors of directions, with an axis for prompts and one for positions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from dla.inputs.columns import Column
from dla.inputs.given import ids_in, items, shown, token, whole_number
from dla.inputs.positions import Positions
from dla.inputs.prompts import Prompts

if TYPE_CHECKING:
    import pandas as pd

    Tokens = str | int | Sequence[str | int] | Tensor | np.ndarray | pd.Series | Column
    Several = Sequence[str | int] | Sequence[Sequence[str | int]] | Tensor | np.ndarray | pd.Series
    Weights = Sequence[float] | Sequence[Sequence[float]] | Tensor | np.ndarray | pd.Series | None
else:  # a type checker at run time would refuse a wrong argument before the direction can explain what is wrong
    Tokens = Several = Weights = object


def read_tokens(tokens: Tokens) -> str | int | list[str | int] | Tensor | Column:
    """One token, a list with one per prompt, a tensor of ids, or a column of a corpus.

    Raises:
        TypeError: If they are neither texts nor ids.
        ValueError: If there is no token, or they are lists in a list.
    """
    if isinstance(tokens, Column):
        return tokens
    if isinstance(tokens, str) or whole_number(tokens) is not None:
        return token(tokens)
    ids = ids_in(tokens)
    if ids is not None:
        if not ids.numel():
            raise ValueError(f"The token tensor is empty, of shape {tuple(ids.shape)}. Pass at least one token.")
        return ids
    given = items(tokens)
    if given is None:
        return token(tokens)
    if not given:
        raise ValueError(f"No token was given: {shown(tokens)}. Pass one, or one for each prompt.")
    if any(not isinstance(one, str) and items(one) is not None for one in given):
        raise ValueError(
            "The tokens are lists in a list, which could be several tokens per prompt or one per position. Pass a "
            "tensor of ids [batch, pos] for one per prompt and position, or dla.LogitSet for several per prompt."
        )
    return [token(one) for one in given]


def ids_of(tokens: Tokens, prompts: Prompts, positions: Positions) -> Int[Tensor, "#batch #pos"]:
    """Ids with a batch and a position axis, each of size 1 where the token is the same for all.

    Args:
        tokens: As in `read_tokens`.
        prompts: The prompts.
        positions: Their positions.

    Raises:
        TypeError: As `read_tokens`.
        ValueError: As `read_tokens`; or if a token is not one of the vocabulary, or their shape does not fit.
    """
    read = read_tokens(tokens)
    if isinstance(read, Column):
        return prompts.column(read)[:, None]
    if isinstance(read, str | int):
        return torch.tensor([[prompts.vocabulary.token(read)]], device="cpu")
    check_shape((len(read),) if isinstance(read, list) else read.shape, prompts, positions, "The token tensor")
    if isinstance(read, list):
        read = torch.tensor([prompts.vocabulary.token(one) for one in read], device="cpu")
    for extreme in (read.min(), read.max()):  # if these are in the vocabulary, all are
        prompts.vocabulary.token(int(extreme))
    return read[:, None] if read.ndim == 1 else read


def check_shape(shape: Sequence[int], prompts: Prompts, positions: Positions, what: str) -> None:
    """Checks that axes are those of prompts and positions.

    Args:
        shape: The shape: nothing, `[batch]` or `[batch, query]`.
        prompts: The prompts.
        positions: Their positions.
        what: What has this shape, for the message.

    Raises:
        ValueError: If they do not fit.
    """
    kept = positions.index.shape[1]
    wanted = ((), (prompts.batch,), (prompts.batch, kept))
    if len(shape) > 2 or tuple(shape) != wanted[len(shape)]:
        raise ValueError(
            f"{what} has shape {list(shape)}. For {prompts.batch} prompts at {kept} positions pass shape [] (the same "
            f"for all), [{prompts.batch}] (one per prompt) or [{prompts.batch}, {kept}] (one per prompt and position)."
        )


def words(tokens: Tokens) -> str:
    """The tokens in words, shortened where there are many."""
    read = read_tokens(tokens)
    if isinstance(read, Column):
        return read.name
    if isinstance(read, Tensor):
        return f"tokens {list(read.shape)}"
    return repr(read) if isinstance(read, str | int) else few(read)


def few(tokens: Sequence[str | int]) -> str:
    """The first of some tokens, and how many there are."""
    several = len(tokens)
    words = [repr(one) for one in (tokens if several <= 4 else tokens[:3])]
    return ", ".join(words if several <= 4 else [*words, f"... ({several} tokens)"])
