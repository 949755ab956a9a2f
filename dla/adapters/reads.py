"""What sublayers read: the residual stream at a place, through a norm and a matrix, to values or to activations.

With the norm's scale frozen each of these is a linear map of the stream and a constant, so a direction on what was made
of the stream can be pulled back to the stream itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.affine import Affine
from dla.adapters.score_reads import ScoreReads
from dla.writes import FullOutput, Norm, Site
from dla.writes.routes import Activations


@final
@dataclass(frozen=True, eq=False)
class StreamEntry:
    """How the residual stream enters a sublayer.

    Attributes:
        stream: The stream at the place where it is read.
        norm: The norm that it passes; None if it passes none.
        shown_at: The hooks that show what enters, by name, each with the norm that the stream has passed there: some
            show it before the norm's weight and bias.
    """

    stream: FullOutput
    norm: Norm | None
    shown_at: Mapping[str, Norm | None] = field(default_factory=dict)

    @property
    def reads(self) -> tuple[Site, ...]:
        """The sites that a pull-back needs: the scale of the norm."""
        return () if self.norm is None else (self.norm.scale,)

    def pull_back(
        self, direction: Float[Tensor, "*more batch pos d_model"], activations: Activations
    ) -> Float[Tensor, "*more batch pos d_model"]:
        """`C(weight * direction) / scale`: a direction on what enters the sublayer, as one on the stream."""
        if self.norm is None:
            return direction
        return self.norm.pull_back(direction) / activations[self.norm.scale].unsqueeze(-1)

    def constant(self, direction: Float[Tensor, "*more d_model"]) -> Float[Tensor, "*more"]:
        """What the direction reads of the norm's bias."""
        if self.norm is None or self.norm.bias is None:
            return direction.new_zeros(direction.shape[:-1])
        return direction @ self.norm.bias.detach().to(direction)


@final
@dataclass(frozen=True, eq=False)
class HeadReads:
    """What attention heads read.

    Attributes:
        entry: How the stream enters the attention.
        values: What the values are made with: `v = entered @ W_V + b_V`, with all groups side by side.
        scores: What their scores are made of, or why that is not known: a clause.
    """

    entry: StreamEntry
    values: Affine
    scores: ScoreReads | str


@final
@dataclass(frozen=True, eq=False)
class Read:
    """Numbers that a sublayer makes of what enters it, and where they are seen."""

    site: Site
    affine: Affine


@final
@dataclass(frozen=True, eq=False)
class NeuronReads:
    """What neurons read: `post = f(pre)`, or with a gate `post = f(gate) * up + bias`.

    Attributes:
        entry: How the stream enters the MLP.
        pre: What the activation function is applied to: `pre`, or the gate.
        up: What the gate multiplies; None in an MLP without gate.
        bias: What is added to the product; None if nothing is.
        act: The activation function, entry by entry.
    """

    entry: StreamEntry
    pre: Read
    up: Read | None
    bias: Float[Tensor, " neuron"] | None
    act: Callable[[Float[Tensor, "*shape"]], Float[Tensor, "*shape"]]

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where the numbers are seen that the neurons are made of."""
        return (self.pre.site,) if self.up is None else (self.pre.site, self.up.site)

    def activated(self, activations: Activations) -> Float[Tensor, "batch pos neuron"]:
        """`f(pre)`, or `f(gate) * up`: the activations without what is added to the product."""
        value = self.act(activations[self.pre.site])
        return value if self.up is None else value * activations[self.up.site]


@final
@dataclass(frozen=True, eq=False)
class Expert:
    """One expert of a mixture: `act(pre) @ down`, or with a gate `(act(pre) * up) @ down`.

    Attributes:
        pre: From what enters to what the activation function is applied to.
        up: From what enters to what the gate multiplies; None in an expert without gate.
        down: From the product to what the expert puts out.
        act: The activation function, entry by entry.
    """

    pre: Affine
    up: Affine | None
    down: Affine
    act: Callable[[Float[Tensor, "*shape"]], Float[Tensor, "*shape"]]


@final
@dataclass(frozen=True, eq=False)
class ExpertReads:
    """What the experts of a mixture read.

    Attributes:
        entry: How the stream enters the mixture.
        experts: The experts that a router chooses from.
        shared: All shared experts together, without their gate; None if there are none.
    """

    entry: StreamEntry
    experts: tuple[Expert, ...]
    shared: Expert | None

    @property
    def gated(self) -> bool:
        """Whether they have gates, all alike."""
        return self.experts[0].up is not None


SublayerReads = HeadReads | NeuronReads | ExpertReads | str
"""What a sublayer reads, or why that is not known: a clause."""

ModelReads = tuple[tuple[SublayerReads, ...], ...]
"""By block and sublayer."""


def secant(value: Float[Tensor, "*shape"], of: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`value / of`, and 0 where `of` is 0."""
    zero = of == 0
    return torch.where(zero, torch.zeros_like(value), value / torch.where(zero, torch.ones_like(of), of))
