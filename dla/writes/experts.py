"""Mixtures of experts: one part for each expert."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.inputs.arguments import check_fields, function
from dla.labels import Label
from dla.tolerances import EXPERT_ROUNDINGS
from dla.writes.arithmetic import BoundedValue, Computation, Precision
from dla.writes.base import Write, check_labels, dot
from dla.writes.routes import DIRECT, Activations, Route
from dla.writes.sites import Site

ExpertCall = Callable[[Float[Tensor, "token d_model"], Int[Tensor, "token 1"]], Float[Tensor, "token d_model"]]
"""The output of one expert per token, without its weight."""


@final
@dataclass(frozen=True, eq=False)
class ExpertWrites(Write):
    """One part for each routed expert, `weight * expert(x)`, and one for the shared experts if there are any.

    No hook shows the output of a single expert, so the model's own experts are called again: on the positions that are
    attributed, with one of the chosen experts of each position at a time. An expert that was not chosen has 0.

    Attributes:
        x: What the experts read, `[batch pos d_model]`.
        index: Which were chosen, `[batch pos chosen]`.
        weight: Their weights `[batch pos chosen]`, or those of all experts `[batch pos expert]`.
        call: Runs one expert per token.
        normalised: Whether the chosen experts' weights are divided by their sum.
        shared: The output of the shared experts, `[batch pos d_model]`; None if there are none.
        gate: Its sigmoid multiplies that output, `[batch pos 1]`; None if there is no gate.
        parts: One label per expert, then that of the shared ones.
        route: From the sum of all to the stream.

    Source: Shazeer et al. 2017 (arXiv 1701.06538); Dai et al. 2024, "DeepSeekMoE" (arXiv 2401.06066).
    """

    x: Site
    index: Site
    weight: Site
    call: ExpertCall
    normalised: bool
    shared: Site | None
    gate: Site | None
    parts: Sequence[Label]
    route: Route = DIRECT

    def __post_init__(self) -> None:
        optional = (Site, type(None))
        check_fields(self, x=Site, index=Site, weight=Site, normalised=bool, shared=optional, gate=optional)
        check_fields(self, parts=Sequence, route=Route)
        function(self.call, "ExpertWrites: call", "one that runs the experts")
        check_labels(self.parts)

    @property
    def labels(self) -> Sequence[Label]:
        return self.parts

    @property
    def reads(self) -> tuple[Site, ...]:
        optional = (site for site in (self.shared, self.gate) if site is not None)
        return (self.x, self.index, self.weight, *optional, *self.route.reads)

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        pulled = self.route.pull_back(direction)
        rows = self._zeros(dot(activations[self.x], pulled).unsqueeze(-3))
        # The slots of one token are different experts, so each row gets at most one value per token.
        for index, vectors in self.slots(activations):
            values = dot(vectors, pulled).unsqueeze(-3)
            rows = rows.scatter_add(-3, index.expand_as(values), values)
        if self.shared is not None:
            rows = torch.cat([rows, dot(self.shared_output(activations), pulled).unsqueeze(-3)], -3)
        return self.route.rescale(rows, activations)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        rows = self._zeros(activations[self.x].unsqueeze(0), -4)  # [expert batch pos d_model]
        for index, vectors in self.slots(activations):
            rows = rows.scatter_add(0, index.unsqueeze(-1).expand_as(vectors).unsqueeze(0), vectors.unsqueeze(0))
        if self.shared is not None:
            rows = torch.cat([rows, self.shared_output(activations).unsqueeze(0)])
        return self.route.push_forward(rows, activations)

    def _zeros(self, like: Float[Tensor, "..."], axis: int = -3) -> Float[Tensor, "..."]:
        """Zeros shaped like a tensor, with one row per routed expert along an axis."""
        shape = list(like.shape)
        shape[axis] = len(self.parts) - (self.shared is not None)
        return like.new_zeros(shape)

    def slots(
        self, activations: Activations
    ) -> Iterator[tuple[Int[Tensor, "batch pos"], Float[Tensor, "batch pos d_model"]]]:
        """For each place in the list of chosen experts: which expert every token has there, and what it adds."""
        x, index, weight = (activations[site] for site in (self.x, self.index, self.weight))
        # A router may show the weights of all experts; those of the chosen ones are picked out.
        weight = weight if weight.shape == index.shape else weight.gather(-1, index)
        weight = weight / weight.sum(-1, keepdim=True) if self.normalised else weight
        for slot in range(index.shape[-1]):
            with torch.no_grad():
                # [batch pos d_model] -> [token d_model]: experts take the tokens of all prompts as one axis
                output = self.call(x.flatten(0, 1), index[..., slot].reshape(-1, 1)).to(x)
            yield index[..., slot], output.unflatten(0, x.shape[:2]) * weight[..., slot, None]

    def shared_output(self, activations: Activations) -> Float[Tensor, "batch pos d_model"]:
        """What the shared experts add together, gate included, before the route."""
        assert self.shared is not None
        output = activations[self.shared]
        return output if self.gate is None else output * activations[self.gate].sigmoid()


@final
@dataclass(frozen=True, eq=False)
class ExpertSum(Computation):
    """The output of a mixture of experts: the experts called again, one per token, and summed.

    In the run an expert had its tokens in another batch, which moves its own sums by rounding. No hook shows the
    numbers inside an expert; they are taken to be as large as the largest entry of its output for the token.
    """

    experts: ExpertWrites
    precision: Precision

    @property
    def reads(self) -> tuple[Site, ...]:
        return self.experts.reads

    def at(self, activations: Activations) -> BoundedValue:
        vectors = self.experts.vectors(activations)
        size = vectors.abs().sum(0)
        largest = vectors.abs().amax((0, -1)).unsqueeze(-1)
        precision = self.precision
        slack = EXPERT_ROUNDINGS * precision.unit * (size + largest) + precision.sums * largest + precision.least
        return BoundedValue(vectors.sum(0), slack)
