"""Directions that are vectors: a probe, a feature's encoder, a difference of means."""

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from dla.directions.base import Direction, Readout
from dla.directions.shapes import check_shape
from dla.prompts import Positions, Prompts


@final
@dataclass(frozen=True, eq=False)
class ResidualVector(Direction):
    """A vector that reads the stream: what a probe says, how strongly a feature's encoder is driven.

    Without `at` it reads the final norm's output, as a column of `W_U` does: `ln_final(x) · vector`. With `at` it reads
    the stream itself at that place, `x · vector`: the rows are what was written up to there, there is no norm on the
    way and no constant.

    Attributes:
        vector: `[d_model]` for all prompts, `[batch d_model]` one a prompt, or `[batch pos d_model]` one a prompt
            and position asked for.
        at: A hook name of TransformerLens between or in the blocks, such as "blocks.6.hook_resid_post" (or `_pre`,
            `_mid`); the last block's `hook_resid_post` is the stream before the final norm.
    """

    vector: Float[Tensor, "... d_model"]
    at: str | None = None

    def readout(self, prompts: Prompts, positions: Positions) -> Readout:
        leading = self.vector.shape[:-1]
        check_shape(leading, prompts, positions, "The vector without its last axis")
        vector = self.vector[(None,) * (2 - len(leading))] if not leading else self.vector
        vector = vector[:, None] if len(leading) == 1 else vector
        return Readout.of_vector(vector.detach(), self.at)

    def describe(self) -> str:
        place = "" if self.at is None else f" at {self.at}"
        return f"residual vector {list(self.vector.shape)}{place}"
