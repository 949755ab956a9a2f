"""What the model's own arithmetic loses by rounding, in half precision."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.inputs.arguments import check_fields
from dla.labels import Label
from dla.writes.arithmetic import BoundedValue, Computation
from dla.writes.base import Write, check_labels, dot, pull_through
from dla.writes.routes import DIRECT, Activations, Route
from dla.writes.sites import Site


@final
@dataclass(frozen=True, eq=False)
class Rounding(Write):
    """What a hook shows after a step minus the exact result of the step: one part, or one per head.

    An entry that differs by more than the step's own rounding counts as 0, so that anything else that happened there
    (a part that was forgotten, an edit) remains a gap in the sum.

    Attributes:
        step: The step.
        seen: Where the model's own result is read, `[batch pos d_model]`, or `[batch pos part d_in]` with a weight.
        parts: One label per part.
        weight: From each part of that result to what is added; None where the result is itself added.
        route: From there to the stream.
    """

    step: Computation
    seen: Site
    parts: Sequence[Label]
    weight: Float[Tensor, "part d_in d_model"] | None = None
    route: Route = DIRECT

    def __post_init__(self) -> None:
        optional = (Tensor, type(None))
        check_fields(self, step=Computation, seen=Site, parts=Sequence, weight=optional, route=Route)
        check_labels(self.parts)

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
        values = dot(lost, pull_through(pulled, self.weight))
        return self.route.rescale(values.movedim(-1, -3), activations)  # [... batch pos part] -> [... part batch pos]

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        lost = lost_in(self.step.at(activations), activations[self.seen])
        if self.weight is None:
            return self.route.push_forward(lost.unsqueeze(0), activations)
        vectors = torch.einsum("bphi,hid->hbpd", lost, self.weight.to(lost))
        return self.route.push_forward(vectors, activations)


def lost_in(computed: BoundedValue, seen: Float[Tensor, "batch pos *d"]) -> Float[Tensor, "batch pos *d"]:
    """What a step lost by rounding: what was seen minus the exact result, and 0 where that is more than rounding."""
    lost = seen - computed.value
    return torch.where(lost.abs() <= computed.slack, lost, torch.zeros_like(lost))
