"""What attention scores are made of: queries and keys, both linear in the stream, and what position alone adds.

With the scales of norms frozen, a query is a linear map of what entered the attention: a matrix, for some models a norm
of each head, a turn by its position (rotary embeddings). A key likewise. The score is their product.
"""

import abc
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from dla.adapters.affine import Affine
from dla.writes.routes import Activations, centre
from dla.writes.sites import Site

MASKED = -3e4
"""Scores below this are of positions that a head does not look at; half precision has hardly smaller numbers."""


class HeadStep(abc.ABC):
    """A step from the queries (or keys) that a matrix makes to those whose products are the scores.

    Law: for frozen `x`, `push` is linear in its vectors, and `push(x, x) + bias` is what the step makes of `x`.

    Attributes:
        bias: What is added at the end; None if nothing is.
    """

    bias: Float[Tensor, "#head d_head"] | None

    @property
    @abc.abstractmethod
    def sites(self) -> tuple[Site, ...]:
        """What it reads of the run."""

    @abc.abstractmethod
    def push(
        self,
        vectors: Float[Tensor, "*more head d_head"],
        x: Float[Tensor, "batch pos every_head d_head"],
        heads: slice,
        activations: Activations,
    ) -> Float[Tensor, "*more head d_head"]:
        """What the step makes of summands of its input.

        Args:
            vectors: The summands, with batch and position before the axis of heads.
            x: The whole input, of all heads.
            heads: Which of them the summands belong to.
            activations: The run, at these positions.
        """


@final
@dataclass(frozen=True, eq=False)
class HeadNorm(HeadStep):
    """A norm of queries or keys with its scale frozen: `weight * C(x) / scale + bias`.

    Attributes:
        weight: The weight, of each head or the same for all; None if there is none.
        bias: The bias, likewise.
        eps: What the scale is computed with.
        centred: Whether `C` subtracts the mean of a head (LayerNorm).
        whole: Whether there is one scale for all heads together, rather than one for each.
    """

    weight: Float[Tensor, "#head d_head"] | None
    bias: Float[Tensor, "#head d_head"] | None
    eps: float
    centred: bool
    whole: bool

    @property
    def sites(self) -> tuple[Site, ...]:
        return ()

    def push(
        self,
        vectors: Float[Tensor, "*more head d_head"],
        x: Float[Tensor, "batch pos every_head d_head"],
        heads: slice,
        activations: Activations,
    ) -> Float[Tensor, "*more head d_head"]:
        x, vectors = (centre(x), centre(vectors)) if self.centred else (x, vectors)
        squares = x.pow(2).mean((-1, -2), keepdim=True) if self.whole else x.pow(2).mean(-1, keepdim=True)
        scale = (squares + self.eps).sqrt()
        pushed = vectors / (scale if self.whole else scale[..., heads, :])
        return pushed if self.weight is None else pushed * of_heads(self.weight, heads).to(pushed)


class Turn(HeadStep):
    """A rotary embedding: pairs of numbers, as complex ones, are multiplied by a number for each pair and position.

    Attributes:
        width: How many numbers of a head are turned, the first ones.
        adjacent: Whether neighbours make a pair (GPT-J); else the first half goes with the second (GPT-NeoX).

    Source: Su et al. 2021, "RoFormer" (arXiv 2104.09864).
    """

    width: int
    adjacent: bool
    bias = None

    @abc.abstractmethod
    def factors(
        self, x: Float[Tensor, "batch pos head d_head"], activations: Activations
    ) -> Complex[Tensor, "#batch pos pair"]:
        """What the pairs are multiplied by."""

    @final
    def push(
        self,
        vectors: Float[Tensor, "*more head d_head"],
        x: Float[Tensor, "batch pos every_head d_head"],
        heads: slice,
        activations: Activations,
    ) -> Float[Tensor, "*more head d_head"]:
        turned = self.pairs(vectors) * self.factors(x, activations).unsqueeze(-2)
        parts = [turned.real, turned.imag]
        joined = torch.stack(parts, -1).flatten(-2) if self.adjacent else torch.cat(parts, -1)
        return torch.cat([joined, vectors[..., self.width :]], -1)

    @final
    def pairs(self, x: Float[Tensor, "*more d_head"]) -> Complex[Tensor, "*more pair"]:
        """The numbers that are turned, as complex numbers."""
        x = x[..., : self.width]
        return torch.complex(x[..., ::2], x[..., 1::2]) if self.adjacent else torch.complex(*x.chunk(2, -1))


@final
@dataclass(frozen=True, eq=False)
class ShownTurn(Turn):
    """A turn whose cosines and sines hooks show.

    Attributes:
        cos: Where the cosines are read, one for each pair.
        sin: Where the sines are read.
    """

    width: int
    adjacent: bool
    cos: Site
    sin: Site

    @property
    def sites(self) -> tuple[Site, ...]:
        return self.cos, self.sin

    def factors(
        self, x: Float[Tensor, "batch pos head d_head"], activations: Activations
    ) -> Complex[Tensor, "#batch pos pair"]:
        return torch.complex(activations[self.cos], activations[self.sin])


@final
@dataclass(frozen=True, eq=False)
class SeenTurn(Turn):
    """A turn that is read off all heads before and after it: an angle for each pair, and one stretch for all.

    Attributes:
        turned: Where the result is read.
    """

    width: int
    adjacent: bool
    turned: Site

    @property
    def sites(self) -> tuple[Site, ...]:
        return (self.turned,)

    def factors(
        self, x: Float[Tensor, "batch pos head d_head"], activations: Activations
    ) -> Complex[Tensor, "#batch pos pair"]:
        before, after = self.pairs(x), self.pairs(activations[self.turned])
        products = (before.conj() * after).sum(-2)
        angles = torch.where(products == 0, torch.ones_like(products), products / products.abs())
        stretch = (angles.conj() * products).real.sum(-1) / before.abs().pow(2).sum((-1, -2))
        return angles * stretch.unsqueeze(-1)


@final
@dataclass(frozen=True, eq=False)
class HeadSide:
    """Queries, or keys: where what the matrix makes is seen, how it is made, and what becomes of it.

    Attributes:
        kind: "Q" or "K", as in `W_Q`.
        site: Where `entered @ W + b` is read, `[batch pos head d_head]`; of keys one for each group of heads.
        affine: The matrix, with all heads side by side.
        steps: What comes after it.
    """

    kind: str
    site: Site
    affine: Affine
    steps: tuple[HeadStep, ...]

    @property
    def sites(self) -> tuple[Site, ...]:
        """Everything that is read of the run."""
        return (self.site, *(site for step in self.steps for site in step.sites))

    def made(self, activations: Activations) -> Float[Tensor, "batch pos head d_head"]:
        """What the scores are products of."""
        x: Tensor = activations[self.site]
        for step in self.steps:
            x = stepped(step, x, activations)
        return x


@final
@dataclass(frozen=True, eq=False)
class ScoreReads:
    """`scores[h, q, k] = scale * query[q, h] · key[k, h] + slopes[h] · (k, last)`, then perhaps a soft cap.

    Attributes:
        scores: Where the scores are read, `[batch head pos source]`.
        query: The queries.
        key: The keys; consecutive heads share a group.
        scale: The scale of the scores.
        slopes: What a head's scores have for each position of the key, and of the last token (ALiBi); None where
            position alone adds nothing.
        cap: The soft cap, `cap * tanh(score / cap)`; None if there is none.
        unit: The rounding unit of the steps up to the scores.
    """

    scores: Site
    query: HeadSide
    key: HeadSide
    scale: float
    slopes: Float[Tensor, "two head"] | None
    cap: float | None
    unit: float

    @property
    def sites(self) -> tuple[Site, ...]:
        """Everything that is read of the run."""
        return (self.scores, *self.query.sites, *self.key.sites)

    def capped(self, scores: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The scores as the hook shows them."""
        return scores if self.cap is None else self.cap * torch.tanh(scores / self.cap)

    def uncapped(self, scores: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The scores before the cap; infinite where they have reached it."""
        return scores if self.cap is None else self.cap * torch.atanh(scores / self.cap)


def stepped(
    step: HeadStep, x: Float[Tensor, "batch pos head d_head"], activations: Activations
) -> Float[Tensor, "batch pos head d_head"]:
    """What a step makes of its whole input."""
    made = step.push(x, x, slice(None), activations)
    return made if step.bias is None else made + step.bias.to(made)


def of_heads(tensor: Float[Tensor, "#head d_head"], heads: slice) -> Float[Tensor, "#head d_head"]:
    """The rows of some heads; the one row where all share it."""
    return tensor.detach() if len(tensor) == 1 else tensor.detach()[heads]
