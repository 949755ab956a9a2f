"""Writes: what is read while the model runs, how it falls into parts, and how each part reaches the stream.

Two ways to the same numbers. `contract` pulls the direction back through the weights and dots it with the
activation, so that no vector of a part is ever built. `vectors` builds them, for small cases and for tests.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from dla.labels import Label
from dla.routes import DIRECT, Activations, Route
from dla.sites import Site


class Write(abc.ABC):
    """Parts of the residual stream that come from one place.

    Law: for any activations and direction, `contract(activations, direction)` equals the dot product of
    `vectors(activations)` with the direction. A write depends on the activations of `reads` and on nothing else.
    """

    @property
    @abc.abstractmethod
    def labels(self) -> Sequence[Label]:
        """The names of its parts, in the order of the first axis of what it returns."""

    @property
    @abc.abstractmethod
    def reads(self) -> tuple[Site, ...]:
        """Every site that it needs."""

    @abc.abstractmethod
    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        """What the direction reads of each part, in the direction's units times the stream's."""

    @abc.abstractmethod
    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        """What each part adds to the residual stream that enters the final norm."""


@final
@dataclass(frozen=True, eq=False)
class Whole(Write):
    """One part: the activation is itself the vector that is added to the stream."""

    site: Site
    label: Label
    route: Route = DIRECT

    @property
    def labels(self) -> Sequence[Label]:
        return (self.label,)

    @property
    def reads(self) -> tuple[Site, ...]:
        return (self.site, *self.route.reads)

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        values = _dot(activations[self.site], self.route.pull_back(direction))
        return self.route.rescale(values, activations).unsqueeze(-3)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        return self.route.push_forward(activations[self.site].unsqueeze(0), activations)


@final
@dataclass(frozen=True, eq=False)
class Change(Write):
    """One part: what the stream gained between two sites, `after - carry * before`, both measured."""

    before: Site
    after: Site
    label: Label
    route: Route = DIRECT
    carry: float = 1.0

    @property
    def labels(self) -> Sequence[Label]:
        return (self.label,)

    @property
    def reads(self) -> tuple[Site, ...]:
        return (self.before, self.after, *self.route.reads)

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        values = _dot(self._gained(activations), self.route.pull_back(direction))
        return self.route.rescale(values, activations).unsqueeze(-3)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        return self.route.push_forward(self._gained(activations).unsqueeze(0), activations)

    def _gained(self, activations: Activations) -> Float[Tensor, "batch pos d_model"]:
        return activations[self.after] - self.carry * activations[self.before]


@final
@dataclass(frozen=True, eq=False)
class Factored(Write):
    """A part per slice of an activation, each with a matrix of its own: part `h` is `activation[h] @ weight[h]`.

    Attention heads: the activation is `z`, the weight is `W_O`.

    Attributes:
        site: `[batch pos part d_in]`.
        weight: `[part d_in d_model]`.
        parts: One label a part.
        route: From the weight's output to the stream.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
    """

    site: Site
    weight: Float[Tensor, "part d_in d_model"]
    parts: Sequence[Label]
    route: Route = DIRECT

    @property
    def labels(self) -> Sequence[Label]:
        return self.parts

    @property
    def reads(self) -> tuple[Site, ...]:
        return (self.site, *self.route.reads)

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        pulled = linear(self.route.pull_back(direction), self.weight.flatten(0, 1).to(direction))
        pulled = pulled.unflatten(-1, self.weight.shape[:2])
        values = _dot(activations[self.site], pulled).movedim(-1, -3)
        return self.route.rescale(values, activations)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        activation = activations[self.site]
        vectors = torch.einsum("bphi,hid->hbpd", activation, self.weight.to(activation))
        return self.route.push_forward(vectors, activations)


@final
@dataclass(frozen=True, eq=False)
class Scaled(Write):
    """A part per coordinate of an activation, each with a vector of its own: part `n` is `activation[n] * weight[n]`.

    MLP neurons: the activation is `post`, the weight is `W_out`.

    Attributes:
        site: `[batch pos part]`.
        weight: `[part d_model]`.
        parts: One label a part.
        route: From the weight's output to the stream.
    """

    site: Site
    weight: Float[Tensor, "part d_model"]
    parts: Sequence[Label]
    route: Route = DIRECT

    @property
    def labels(self) -> Sequence[Label]:
        return self.parts

    @property
    def reads(self) -> tuple[Site, ...]:
        return (self.site, *self.route.reads)

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        pulled = linear(self.route.pull_back(direction), self.weight.to(direction))
        return self.route.rescale((activations[self.site] * pulled).movedim(-1, -3), activations)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        activation = activations[self.site]
        vectors = torch.einsum("bpn,nd->nbpd", activation, self.weight.to(activation))
        return self.route.push_forward(vectors, activations)


@final
@dataclass(frozen=True, eq=False)
class Constant(Write):
    """One part that every prompt and position gets alike, such as the bias `b_O`."""

    vector: Float[Tensor, " d_model"]
    label: Label
    route: Route = DIRECT

    @property
    def labels(self) -> Sequence[Label]:
        return (self.label,)

    @property
    def reads(self) -> tuple[Site, ...]:
        return self.route.reads

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        values = self.route.pull_back(direction) @ self.vector.to(direction)
        return self.route.rescale(values, activations).unsqueeze(-3)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        vector = self.vector
        if self.route.norm is not None:
            vector = vector.to(activations[self.route.norm.scale])
        return self.route.push_forward(vector[None, None, None], activations)


@final
@dataclass(frozen=True, eq=False)
class SumOf(Write):
    """Several writes as one part."""

    writes: Sequence[Write]
    label: Label

    @property
    def labels(self) -> Sequence[Label]:
        return (self.label,)

    @property
    def reads(self) -> tuple[Site, ...]:
        return tuple(dict.fromkeys(site for write in self.writes for site in write.reads))

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        total = direction.new_zeros(())
        for write in self.writes:
            total = total + write.contract(activations, direction).sum(-3, keepdim=True)
        return total

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        total = torch.zeros(())
        for write in self.writes:
            vectors = write.vectors(activations).sum(0, keepdim=True)
            total = total.to(vectors) + vectors
        return total


def _dot(left: Float[Tensor, "*more d"], right: Float[Tensor, "*others d"]) -> Float[Tensor, "*broadcast"]:
    """The dot product over the last axis, in one pass over both."""
    product: Tensor = torch.linalg.vecdot(left, right)
    return product
