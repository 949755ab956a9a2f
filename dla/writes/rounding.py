"""Rounding: what the model's own arithmetic loses, where half precision makes it visible."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from dla.labels import Label
from dla.writes.arithmetic import BoundedValue, Computation
from dla.writes.base import Write, dot
from dla.writes.routes import DIRECT, Activations, Route
from dla.writes.sites import Site


@final
@dataclass(frozen=True, eq=False)
class Rounding(Write):
    """What a hook shows after a step minus what the step comes to exactly: one part, or one a head.

    Only what rounding can make counts. An entry that is further off than the step's own rounding allows counts as
    nothing, so that whatever else happened there (a part that was forgotten, an edit) stays a gap in the sum.

    Attributes:
        step: The step.
        seen: Where its result is read, `[batch pos d_model]`, or `[batch pos part d_in]` where there is a weight.
        parts: One label a part.
        weight: From each part of that result to what is added, `[part d_in d_model]`; None where it is itself added.
        route: From there to the stream.
    """

    step: Computation
    seen: Site
    parts: Sequence[Label]
    weight: Float[Tensor, "part d_in d_model"] | None = None
    route: Route = DIRECT

    @property
    def labels(self) -> Sequence[Label]:
        return self.parts

    @property
    def reads(self) -> tuple[Site, ...]:
        return tuple(dict.fromkeys((*self.step.reads, self.seen, *self.route.reads)))

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        lost, pulled = lost_in(self.step.at(activations), activations[self.seen]), self.route.pull_back(direction)
        if self.weight is None:
            return self.route.rescale(dot(lost, pulled).unsqueeze(-3), activations)
        pulled = linear(pulled, self.weight.flatten(0, 1).to(pulled)).unflatten(-1, self.weight.shape[:2])
        return self.route.rescale(dot(lost, pulled).movedim(-1, -3), activations)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        lost = lost_in(self.step.at(activations), activations[self.seen])
        if self.weight is None:
            return self.route.push_forward(lost.unsqueeze(0), activations)
        vectors = torch.einsum("bphi,hid->hbpd", lost, self.weight.to(lost))
        return self.route.push_forward(vectors, activations)


def lost_in(computed: BoundedValue, seen: Float[Tensor, "batch pos *d"]) -> Float[Tensor, "batch pos *d"]:
    """What rounding took from a step: what was seen minus what it comes to, where that can be rounding; else 0."""
    lost = seen - computed.value
    return torch.where(lost.abs() <= computed.slack, lost, torch.zeros_like(lost))
