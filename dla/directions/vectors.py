"""Directions that are vectors of the stream: a probe, a feature's encoder, a difference of means."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dla.directions.base import Direction, ResolvedDirection
from dla.directions.shapes import check_shape
from dla.inputs.given import items, plain_tensor, shown
from dla.inputs.positions import Positions
from dla.inputs.prompts import Prompts

if TYPE_CHECKING:
    import pandas as pd

    Vector = Tensor | np.ndarray | pd.Series | Sequence[float]
    HookName = str | None
else:  # a type checker at run time would refuse a wrong argument before the direction can explain what is wrong
    Vector = HookName = object


@final
@dataclass(frozen=True, eq=False)
class ResidualVector(Direction):
    """A vector that reads the stream: the output of a probe, the input of a feature's encoder.

    Without `at` it reads the final norm's output, as a column of `W_U` does: `ln_final(x) · vector`. With `at` it reads
    the stream itself at that place, `x · vector`: the rows are what was written before that place, without a norm and
    without a constant.

    Attributes:
        vector: `[d_model]` for all prompts, `[batch d_model]` with one per prompt, or `[batch pos d_model]` with one
            per prompt and attributed position.
        at: A hook name of TransformerLens between or in the blocks, such as "blocks.6.hook_resid_post" (or `_pre`,
            `_mid`); the last block's `hook_resid_post` is the stream before the final norm.

    Raises:
        TypeError: If the vector does not hold numbers, or `at` is not a text.
        ValueError: If the vector has no axis, or a number is not finite.
    """

    vector: Vector
    at: HookName = None

    def __post_init__(self) -> None:
        self._read()
        if not isinstance(self.at, str | None):
            raise TypeError(f"at={shown(self.at)}; pass the hook name of a place in the stream, or None.")

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        vector = self._read()
        check_shape(vector.shape[:-1], prompts, positions, "The vector without its last axis")
        vector = vector[None, None] if vector.ndim == 1 else vector[:, None] if vector.ndim == 2 else vector
        return ResolvedDirection.of_vector(vector, self.at)

    def describe(self) -> str:
        place = "" if self.at is None else f" at {self.at}"
        return f"residual vector {list(self._read().shape)}{place}"

    def _read(self) -> Float[Tensor, "... d_model"]:
        """The vector as a tensor, in float32 or finer."""
        given = _numbers(self.vector)
        if given is None or given.is_complex() or given.dtype == torch.bool:
            found = f"is {shown(self.vector)}" if given is None else f"has dtype {given.dtype}"
            raise TypeError(f"The vector {found}. Pass a tensor of numbers [d_model].")
        if not given.ndim:
            raise ValueError(f"The vector is the single number {shown(given)}. Pass a tensor [d_model].")
        if not given.shape[-1]:
            raise ValueError(f"The vector is empty, of shape {list(given.shape)}. Pass a tensor [d_model].")
        if not bool(given.isfinite().all()):
            raise ValueError("The vector holds numbers that are infinite or NaN. Pass finite ones.")
        return given.detach().to(torch.promote_types(given.dtype, torch.float32))


def _numbers(given: object) -> Shaped[Tensor, "..."] | None:
    """A vector as a tensor; None where it holds no numbers."""
    if isinstance(given, Tensor):
        plain = plain_tensor(given)
        # Where it is already: what is sparse or quantised is written out on the CPU.
        return given if plain is not None and given.layout == torch.strided and not given.is_quantized else plain
    listed = items(given)
    try:
        numbers = np.asarray(listed)
    except ValueError:  # lists of different lengths
        return None
    return torch.tensor(numbers, device="cpu") if listed is not None and numbers.dtype.kind in "iufcb" else None
