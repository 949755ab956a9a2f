"""Rounding: what the model's own arithmetic loses, where half precision makes it visible."""

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
from dla.writes.arithmetic import Computation, Computed
from dla.writes.base import Write, dot


@final
@dataclass(frozen=True, eq=False)
class Rounding(Write):
    """One part: what a hook shows after a step minus what the step comes to exactly.

    Only what rounding can make counts. An entry that is further off than the step's own rounding allows counts as
    nothing, so that whatever else happened there (a part that was forgotten, an edit) stays a gap in the sum.

    Attributes:
        step: The step.
        seen: Where its result is read.
        label: The part's.
        weight: From that result to what is added, `[d d_model]`; None where it is itself added.
        route: From there to the stream.
    """

    step: Computation
    seen: Site
    label: Label
    weight: Float[Tensor, "d d_model"] | None = None
    route: Route = DIRECT

    @property
    def labels(self) -> Sequence[Label]:
        return (self.label,)

    @property
    def reads(self) -> tuple[Site, ...]:
        return tuple(dict.fromkeys((*self.step.reads, self.seen, *self.route.reads)))

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        pulled = self.route.pull_back(direction)
        pulled = pulled if self.weight is None else linear(pulled, self.weight.to(pulled))
        return self.route.rescale(dot(self._lost(activations), pulled), activations).unsqueeze(-3)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        lost = self._lost(activations)
        lost = lost if self.weight is None else lost @ self.weight.to(lost)
        return self.route.push_forward(lost.unsqueeze(0), activations)

    def _lost(self, activations: Activations) -> Float[Tensor, "batch pos d"]:
        return lost_in(self.step.at(activations), activations[self.seen]).flatten(2)


def lost_in(computed: Computed, seen: Float[Tensor, "batch pos *d"]) -> Float[Tensor, "batch pos *d"]:
    """What rounding took from a step: what was seen minus what it comes to, where that can be rounding; else 0."""
    lost = seen - computed.value
    return torch.where(lost.abs() <= computed.slack, lost, torch.zeros_like(lost))
