"""A matrix and a bias, as sublayers read what enters them."""

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor


@final
@dataclass(frozen=True, eq=False)
class Affine:
    """`x @ weight + bias`.

    Attributes:
        weight: The weight.
        bias: The bias; None if there is none.
    """

    weight: Float[Tensor, "d_in d_out"]
    bias: Float[Tensor, " d_out"] | None

    def of(self, x: Float[Tensor, "*more d_in"]) -> Float[Tensor, "*more d_out"]:
        """What it makes of vectors."""
        made = x @ self.weight.detach().to(x)
        return made if self.bias is None else made + self.bias.detach().to(x)

    def pull_back(self, direction: Float[Tensor, "*more d_out"]) -> Float[Tensor, "*more d_in"]:
        """The direction in the input."""
        return direction @ self.weight.detach().to(direction).T

    def constant(self, direction: Float[Tensor, "*more d_out"]) -> Float[Tensor, "*more"]:
        """What the direction reads of the bias."""
        if self.bias is None:
            return direction.new_zeros(direction.shape[:-1])
        return direction @ self.bias.detach().to(direction)
