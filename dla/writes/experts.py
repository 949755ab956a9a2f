"""Mixtures of experts: one part for each expert."""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
        return self._contracted(self.outputs(activations), activations, direction)

    def made(self, activations: Activations) -> Float[Tensor, "batch pos slot d_model"]:
        """What the experts of each token put out, without their weights; the shared ones last."""
        return torch.stack(list(self.outputs(activations)), -2)

    def contract_made(
        self,
        made: Float[Tensor, "batch pos slot d_model"],
        activations: Activations,
        direction: Float[Tensor, "*more #batch #pos d_model"],
    ) -> Float[Tensor, "*more part #batch #pos"]:
        """As `contract`, of what `made` gave: linear in it."""
        return self._contracted(made.unbind(-2), activations, direction)

    def _contracted(
        self,
        outputs: Iterable[Float[Tensor, "batch pos d_model"]],
        activations: Activations,
        direction: Float[Tensor, "*more #batch #pos d_model"],
    ) -> Float[Tensor, "*more part #batch #pos"]:
        pulled = self.route.pull_back(direction)
        shape = list(dot(activations[self.x], pulled).shape)
        rows = pulled.new_zeros(*shape[:-2], len(self.parts), *shape[-2:])
        # The slots of one token are different experts, so each row gets at most one value per token.
        for (index, weight), output in zip(self.slots(activations), outputs, strict=True):
            values = dot(output * weight.unsqueeze(-1), pulled).unsqueeze(-3)
            rows = rows.scatter_add(-3, index.expand_as(values), values)
        return self.route.rescale(rows, activations)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        x = activations[self.x]
        rows = x.new_zeros(len(self.parts), *x.shape)
        for index, vectors in self.written(activations):
            rows = rows.scatter_add(0, index.unsqueeze(-1).expand_as(vectors).unsqueeze(0), vectors.unsqueeze(0))
        return self.route.push_forward(rows, activations)

    def written(
        self, activations: Activations
    ) -> Iterator[tuple[Int[Tensor, "batch pos"], Float[Tensor, "batch pos d_model"]]]:
        """For each slot of a token: the part that it has there, and what that adds before the route."""
        for (index, weight), output in zip(self.slots(activations), self.outputs(activations), strict=True):
            yield index, output * weight.unsqueeze(-1)

    def slots(self, activations: Activations) -> list[tuple[Int[Tensor, "batch pos"], Float[Tensor, "batch pos"]]]:
        """For each place in the list of chosen experts, then for the shared ones: the part there, and its weight."""
        index, weight = activations[self.index], activations[self.weight]
        # A router may show the weights of all experts; those of the chosen ones are picked out.
        weight = weight if weight.shape == index.shape else weight.gather(-1, index)
        weight = weight / weight.sum(-1, keepdim=True) if self.normalised else weight
        found = list(zip(index.unbind(-1), weight.unbind(-1), strict=True))
        if self.shared is not None:
            gate = (
                torch.ones_like(weight[..., 0]) if self.gate is None else activations[self.gate].sigmoid().squeeze(-1)
            )
            found.append((torch.full_like(index[..., 0], len(self.parts) - 1), gate))
        return found

    def outputs(self, activations: Activations) -> Iterator[Float[Tensor, "batch pos d_model"]]:
        """What the part in each slot puts out, without its weight."""
        x, index = activations[self.x], activations[self.index]
        for slot in index.unbind(-1):
            with torch.no_grad():
                # [batch pos d_model] -> [token d_model]: experts take the tokens of all prompts as one axis
                output = self.call(x.flatten(0, 1), slot.reshape(-1, 1)).to(x)
            yield output.unflatten(0, x.shape[:2])
        if self.shared is not None:
            yield activations[self.shared]


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
