"""The positions that are attributed, counted in each prompt's own tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from dla.inputs.given import items, shown, whole_number
from dla.inputs.prompts import Prompts

if TYPE_CHECKING:
    Position = int | slice | Sequence[int] | np.ndarray | Tensor | None
else:  # a type checker at run time would refuse a wrong argument before `read_positions` can explain what is wrong
    Position = object


@final
@dataclass(frozen=True, eq=False)
class Positions:
    """The attributed positions, counted in each prompt's own tokens.

    Attributes:
        index: The positions, from each prompt's first real token.
        valid: False where a short prompt has no such position.
        single: Whether `pos` was a single number, so that results have no axis of positions.
        everything: Whether `index` is every position of every row.
    """

    index: Int[Tensor, "batch query"]
    valid: Bool[Tensor, "batch query"]
    single: bool
    everything: bool


def read_positions(pos: Position, prompts: Prompts) -> Positions:
    """The positions that `pos` names in each prompt.

    Args:
        pos: An int or a list of ints (negative ones count from each prompt's last real token), a slice of each
            prompt's tokens, or None for all: the same for every prompt. Or a tensor or an array `[batch]` with one for
            each prompt, or `[batch, query]` with several.
        prompts: The prompts.

    Raises:
        TypeError: If `pos` is something else.
        ValueError: If a prompt has no such position, or no position is selected.
    """
    single, rows = (
        _of_each(pos, prompts)
        if isinstance(pos, np.ndarray | Tensor) and items(pos) is not None and not getattr(pos, "is_nested", False)
        else _of_all(pos, prompts)
    )
    kept = max(len(row) for row in rows)
    if kept == 0:
        raise ValueError(f"pos={shown(pos)} selects no position of prompts with {list(prompts.lengths)} tokens.")
    # A slice may give prompts different numbers of positions. The rest of a row points at position 0, and is not valid.
    index = torch.tensor([row + [0] * (kept - len(row)) for row in rows], device="cpu")
    valid = torch.tensor([[True] * len(row) + [False] * (kept - len(row)) for row in rows], device="cpu")
    width = prompts.tokens.shape[1]
    everything = kept == width and all(row == list(range(width)) for row in rows)
    return Positions(index, valid, single, everything)


def _wanted(pos: Position) -> tuple[bool, slice | list[int]]:
    """Whether `pos` is a single position, and the positions."""
    if pos is None:
        return False, slice(None)
    if isinstance(pos, slice):
        if any(whole_number(end) is None for end in (pos.start, pos.stop, pos.step) if end is not None):
            raise TypeError(f"pos={pos!r}: the ends and the step of a slice are whole numbers or None.")
        if pos.step is not None and int(pos.step) == 0:
            raise ValueError(f"pos={pos!r}: the step of a slice is not zero.")
        return False, pos
    one, several = whole_number(pos), items(pos)
    if one is not None:
        return True, [one]
    return False, [_place(pos)] if several is None else [_place(item) for item in several]


def _of_all(pos: Position, prompts: Prompts) -> tuple[bool, list[list[int]]]:
    """Whether `pos` is a single position, and the positions of each prompt that it names in all of them."""
    single, wanted = _wanted(pos)
    if isinstance(wanted, slice):
        return single, [list(range(*wanted.indices(length))) for length in prompts.lengths]
    return single, [[_within(p, length) for p in wanted] for length in prompts.lengths]


def _of_each(pos: Shaped[Tensor, "..."] | np.ndarray, prompts: Prompts) -> tuple[bool, list[list[int]]]:
    """Whether there is one position for each prompt, and the positions of each."""
    shape = list(pos.shape)
    if len(shape) > 2 or shape[0] != prompts.batch or 0 in shape:
        raise ValueError(
            f"pos has shape {shape}. A tensor or an array is one position for each of {prompts.batch} prompts, "
            f"[{prompts.batch}], or several, [{prompts.batch}, query]. For the same positions of each pass a list."
        )
    rows = [items(row) if len(shape) == 2 else [row] for row in items(pos) or []]
    found = [
        [_within(_place(one), length) for one in row or []] for row, length in zip(rows, prompts.lengths, strict=True)
    ]
    return len(shape) == 1, found


def _place(value: object) -> int:
    one = whole_number(value)
    if one is None:
        raise TypeError(f"pos: {shown(value)} is not a position. Pass an int, several, a slice, or None for all.")
    return one


def _within(position: int, length: int) -> int:
    if not -length <= position < length:
        raise ValueError(
            f"pos={shown(position)} is out of range for a prompt of {length} tokens (from {-length} to {length - 1})."
        )
    return position % length
