"""Writes of a single part: an activation that is added as it is, a change of the stream, a constant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from dla.inputs.arguments import check_fields
from dla.inputs.given import number, shown
from dla.labels import Label
from dla.writes.base import Write, dot
from dla.writes.routes import DIRECT, Activations, Norm, Route
from dla.writes.sites import Site


@final
@dataclass(frozen=True, eq=False)
class FullOutput(Write):
    """One part: an activation that is itself added to the stream."""

    site: Site
    label: Label
    route: Route = DIRECT

    def __post_init__(self) -> None:
        check_fields(self, site=Site, label=Label, route=Route)

    @property
    def labels(self) -> Sequence[Label]:
        return (self.label,)

    @property
    def reads(self) -> tuple[Site, ...]:
        return (self.site, *self.route.reads)

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        values = dot(activations[self.site], self.route.pull_back(direction))
        return self.route.rescale(values, activations).unsqueeze(-3)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        return self.route.push_forward(activations[self.site].unsqueeze(0), activations)


@final
@dataclass(frozen=True, eq=False)
class Change(Write):
    """One part: what was added to the stream between two sites, `after - carry * before`."""

    before: Site
    after: Site
    label: Label
    route: Route = DIRECT
    carry: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self, before=Site, after=Site, label=Label, route=Route, carry=(float, int))
        number(self.carry, "what is carried on")

    @property
    def labels(self) -> Sequence[Label]:
        return (self.label,)

    @property
    def reads(self) -> tuple[Site, ...]:
        return (self.before, self.after, *self.route.reads)

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        values = dot(self._gained(activations), self.route.pull_back(direction))
        return self.route.rescale(values, activations).unsqueeze(-3)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        return self.route.push_forward(self._gained(activations).unsqueeze(0), activations)

    def _gained(self, activations: Activations) -> Float[Tensor, "batch pos d_model"]:
        return activations[self.after] - self.carry * activations[self.before]


@final
@dataclass(frozen=True, eq=False)
class Constant(Write):
    """One part that is the same for every prompt and position, such as the bias `b_O`."""

    vector: Float[Tensor, " d_model"]
    label: Label
    route: Route = DIRECT

    def __post_init__(self) -> None:
        check_fields(self, vector=Tensor, label=Label, route=Route)
        if self.vector.is_nested or self.vector.ndim != 1:
            raise ValueError(f"Constant: vector is {shown(self.vector)}. Pass a tensor [d_model].")

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
        # A post-norm's scale differs by prompt and position, and so does then the constant that passes it.
        if self.route.norm is not None:
            vector = vector.to(activations[self.route.norm.scale])
        return self.route.push_forward(vector[None, None, None], activations)


@final
@dataclass(frozen=True, eq=False)
class OwnScale(Write):
    """One part: a stream divided by its own scale, as if the final norm came right after it. Such parts do not add up.

    Attributes:
        stream: The stream, in the units of the final stream.
        norm: The final norm; its `eps` is known.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
    """

    stream: FullOutput
    norm: Norm

    def __post_init__(self) -> None:
        check_fields(self, stream=FullOutput, norm=Norm)

    @property
    def labels(self) -> Sequence[Label]:
        return self.stream.labels

    @property
    def reads(self) -> tuple[Site, ...]:
        return self.stream.reads

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        scale = self.norm.scale_of(self.stream.vectors(activations))
        return self.stream.contract(activations, direction) / scale

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        vectors = self.stream.vectors(activations)
        return vectors / self.norm.scale_of(vectors).unsqueeze(-1)
