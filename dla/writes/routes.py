"""Routes: how a vector reaches the residual stream that enters the final norm, and how a direction is pulled back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from jaxtyping import Float, Shaped
from torch import Tensor

from dla.inputs.arguments import check_fields
from dla.inputs.given import number
from dla.writes.sites import Site

Activations = Mapping[Site, Shaped[Tensor, "..."]]
"""What was read at each site, in float32 or finer."""


@final
@dataclass(frozen=True, eq=False)
class Norm:
    """LayerNorm or RMSNorm with its scale frozen: `y = weight * C(x) / scale + bias`, a linear map given the scale.

    Attributes:
        scale: Where the scale `sqrt(mean(C(x)²) + eps)` is read, `[batch pos]`.
        weight: The learned weight, with any offset (Gemma's `1 + w`) already in it; None if there is none.
        bias: The learned bias; None if there is none.
        centred: Whether `C` subtracts the mean over `d_model` (LayerNorm) or is the identity (RMSNorm).
        eps: What the scale is computed with; None if it is not known, and the scale can only be read.

    Source: Ba, Kiros and Hinton 2016 (arXiv 1607.06450); Zhang and Sennrich 2019 (arXiv 1910.07467).
    """

    scale: Site
    weight: Float[Tensor, " d_model"] | None = None
    bias: Float[Tensor, " d_model"] | None = None
    centred: bool = False
    eps: float | None = None

    def __post_init__(self) -> None:
        optional = (Tensor, type(None))
        check_fields(self, scale=Site, weight=optional, bias=optional, centred=bool, eps=(float, int, type(None)))

    def scale_of(self, vectors: Float[Tensor, "*more d_model"]) -> Float[Tensor, "*more"]:
        """The scale that the norm would have for other inputs; `eps` must be known."""
        assert self.eps is not None
        vectors = centre(vectors) if self.centred else vectors
        return (vectors.pow(2).mean(-1) + self.eps).sqrt()

    def pull_back(self, direction: Float[Tensor, "*more d_model"]) -> Float[Tensor, "*more d_model"]:
        """`C(weight * direction)`: the direction in the norm's input, before the division by the scale."""
        # C is symmetric, so direction · (weight * C(x)) = C(weight * direction) · x.
        if self.weight is not None:
            direction = direction * self.weight.to(direction)
        return centre(direction) if self.centred else direction

    def push_forward(
        self, vectors: Float[Tensor, "*part #batch #pos d_model"], scale: Float[Tensor, "batch pos"]
    ) -> Float[Tensor, "*part batch pos d_model"]:
        """`weight * C(x) / scale`: the norm without its bias, applied to parts of its input."""
        vectors = (centre(vectors) if self.centred else vectors) / scale.unsqueeze(-1)
        return vectors if self.weight is None else vectors * self.weight.to(vectors)


@final
@dataclass(frozen=True, eq=False)
class Route:
    """What is between a sublayer's last matrix and the final stream: a post-norm, constant multipliers.

    Attributes:
        norm: The norm that the sublayer's output passes before it is added; None in most models.
        multiplier: The product of all constants that multiply what is written (residual multipliers).
    """

    norm: Norm | None = None
    multiplier: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self, norm=(Norm, type(None)), multiplier=(float, int))
        number(self.multiplier, "a multiplier")

    @property
    def reads(self) -> tuple[Site, ...]:
        """The sites that the route needs: the scale of its norm."""
        return () if self.norm is None else (self.norm.scale,)

    def pull_back(self, direction: Float[Tensor, "*more d_model"]) -> Float[Tensor, "*more d_model"]:
        """The direction in the sublayer's own output, before `rescale`."""
        if self.norm is not None:
            direction = self.norm.pull_back(direction)
        return direction if self.multiplier == 1.0 else direction * self.multiplier

    def rescale(
        self, values: Float[Tensor, "*part #batch #pos"], activations: Activations
    ) -> Float[Tensor, "*part _ _"]:
        """Divides what was read with the pulled-back direction by the norm's scale."""
        # The scale differs by position and the direction need not, so it is not divided before the contraction.
        return values if self.norm is None else values / activations[self.norm.scale]

    def push_forward(
        self, vectors: Float[Tensor, "*part #batch #pos d_model"], activations: Activations
    ) -> Float[Tensor, "*part #batch #pos d_model"]:
        """The sublayer's vectors as they arrive in the final stream."""
        if self.norm is not None:
            vectors = self.norm.push_forward(vectors, activations[self.norm.scale])
        return vectors if self.multiplier == 1.0 else vectors * self.multiplier

    def after(self, multiplier: float) -> "Route":
        """This route, followed by one more constant factor on the stream."""
        return self if multiplier == 1.0 else Route(self.norm, self.multiplier * multiplier)


DIRECT = Route()
"""The route of what is added to the final stream as it is."""


def centre(vectors: Float[Tensor, "*more d_model"]) -> Float[Tensor, "*more d_model"]:
    """The vectors minus their own mean, which LayerNorm subtracts."""
    return vectors - vectors.mean(-1, keepdim=True)
