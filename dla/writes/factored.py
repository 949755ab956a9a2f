"""Writes of many parts, each with its own weight: attention heads, neurons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.inputs.arguments import check_fields
from dla.labels import Label
from dla.writes.base import Write, check_labels, dot, pull_through
from dla.writes.blocks import product
from dla.writes.routes import DIRECT, Activations, Route
from dla.writes.sites import Site


@final
@dataclass(frozen=True, eq=False)
class HeadWrites(Write):
    """One part per slice of an activation, each with its own matrix: part `h` is `activation[h] @ weight[h]`.

    For attention heads the activation is `z` and the weight is `W_O`.

    Attributes:
        site: `[batch pos part d_in]`.
        weight: One matrix per part.
        parts: One label per part.
        route: From the weight's output to the stream.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
    """

    site: Site
    weight: Float[Tensor, "part d_in d_model"]
    parts: Sequence[Label]
    route: Route = DIRECT

    def __post_init__(self) -> None:
        check_fields(self, site=Site, weight=Tensor, parts=Sequence, route=Route)
        check_labels(self.parts, len(self.weight))

    @property
    def labels(self) -> Sequence[Label]:
        return self.parts

    @property
    def reads(self) -> tuple[Site, ...]:
        return (self.site, *self.route.reads)

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        values = dot(activations[self.site], pull_through(self.route.pull_back(direction), self.weight))
        return self.route.rescale(values.movedim(-1, -3), activations)  # [... batch pos part] -> [... part batch pos]

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        activation = activations[self.site]
        vectors = torch.einsum("bphi,hid->hbpd", activation, self.weight.to(activation))
        return self.route.push_forward(vectors, activations)


@final
@dataclass(frozen=True, eq=False)
class NeuronWrites(Write):
    """One part per coordinate of an activation, each with its own vector: part `n` is `activation[n] * weight[n]`.

    For MLP neurons the activation is `post` and the weight is `W_out`.

    Attributes:
        site: `[batch pos part]`.
        weight: One vector per part.
        parts: One label per part.
        route: From the weight's output to the stream.
    """

    site: Site
    weight: Float[Tensor, "part d_model"]
    parts: Sequence[Label]
    route: Route = DIRECT

    def __post_init__(self) -> None:
        check_fields(self, site=Site, weight=Tensor, parts=Sequence, route=Route)
        check_labels(self.parts, len(self.weight))

    @property
    def labels(self) -> Sequence[Label]:
        return self.parts

    @property
    def reads(self) -> tuple[Site, ...]:
        return (self.site, *self.route.reads)

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        pulled = product(self.route.pull_back(direction), self.weight.T)
        # [... batch pos part] -> [... part batch pos]: no sum, since each neuron is one number
        return self.route.rescale((activations[self.site] * pulled).movedim(-1, -3), activations)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        activation = activations[self.site]
        vectors = torch.einsum("bpn,nd->nbpd", activation, self.weight.to(activation))
        return self.route.push_forward(vectors, activations)
