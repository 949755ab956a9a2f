"""Where an edit happens: what a part writes, in an activation that can be replaced while the model runs."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from dla.errors import UnsupportedModelError
from dla.writes import Site, Write

Seen = Mapping[Site, Shaped[Tensor, "..."]]
"""What was read in a run before the edit, in the layout of the site."""


class EditPlace(abc.ABC):
    """Where an edit happens.

    Law: after `put(activation, new, where, seen)` the part writes `new` at the positions `where`, and what other parts
    write there is not changed.
    """

    @property
    @abc.abstractmethod
    def site(self) -> Site:
        """The activation that is edited."""

    @property
    @abc.abstractmethod
    def reads(self) -> tuple[Site, ...]:
        """What must have been seen before it."""

    @abc.abstractmethod
    def written(self, activation: Shaped[Tensor, "batch ..."], seen: Seen) -> Float[Tensor, "batch pos width"]:
        """What the part writes.

        Args:
            activation: What is at the site, in its layout.
            seen: What was read.
        """

    @abc.abstractmethod
    def put(
        self,
        activation: Shaped[Tensor, "batch ..."],
        new: Float[Tensor, "batch pos width"],
        where: Bool[Tensor, "batch pos"],
        seen: Seen,
    ) -> None:
        """Replaces what the part writes, in place.

        Args:
            activation: What is at the site, in its layout.
            new: What the part writes instead.
            where: At which positions.
            seen: What was read.
        """


@final
@dataclass(frozen=True, eq=False)
class Slice(EditPlace):
    """A part that has an activation, or entries of one, for itself: `z` of a head, `post` of a neuron.

    Attributes:
        edited: The activation.
        take: From it to the part's own entries `[batch pos width]`, as a view.
    """

    edited: Site
    take: Callable[[Shaped[Tensor, "batch ..."]], Shaped[Tensor, "batch pos width"]]

    @property
    def site(self) -> Site:
        return self.edited

    @property
    def reads(self) -> tuple[Site, ...]:
        return ()

    def written(self, activation: Shaped[Tensor, "batch ..."], seen: Seen) -> Float[Tensor, "batch pos width"]:
        return self.take(activation)

    def put(
        self,
        activation: Shaped[Tensor, "batch ..."],
        new: Float[Tensor, "batch pos width"],
        where: Bool[Tensor, "batch pos"],
        seen: Seen,
    ) -> None:
        own = self.take(activation)
        own.copy_(torch.where(where.unsqueeze(-1), new.to(own), own))


@final
@dataclass(frozen=True, eq=False)
class Summand(EditPlace):
    """A part that is a summand of what is added to the stream: an expert, a feature, a bias, some sources together.

    Attributes:
        edited: The activation that is added to the stream.
        multiplier: By what it is multiplied on the way.
        write: The part's.
        parts: Which of its parts, taken together.
        d_model: The width of the stream.
    """

    edited: Site
    multiplier: float
    write: Write
    parts: Sequence[int]
    d_model: int

    @property
    def site(self) -> Site:
        return self.edited

    @property
    def reads(self) -> tuple[Site, ...]:
        return tuple(site for site in self.write.reads if site.name != self.edited.name)

    def written(self, activation: Shaped[Tensor, "batch ..."], seen: Seen) -> Float[Tensor, "batch pos width"]:
        missing = [site.name for site in self.reads if site not in seen]
        if missing:
            raise UnsupportedModelError(
                f"{str(self.write.labels[self.parts[0]])!r} cannot be edited at {self.edited.name!r}: {missing[0]!r}, "
                "from which it is computed, comes later in this model."
            )
        own = activation.to(torch.promote_types(activation.dtype, torch.float32))
        given = {site: own if site.name == self.edited.name else seen[site] for site in self.write.reads}
        # A part is linear in the direction that reads it, so its vector is the gradient of its value.
        with torch.enable_grad():
            direction = own.new_zeros(*own.shape[:2], self.d_model, requires_grad=True)
            row = self.write.contract(given, direction)[..., list(self.parts), :, :].sum(-3)
            (vector,) = torch.autograd.grad(row.expand(own.shape[:2]).sum(), direction)
        return vector / self.multiplier

    def put(
        self,
        activation: Shaped[Tensor, "batch ..."],
        new: Float[Tensor, "batch pos width"],
        where: Bool[Tensor, "batch pos"],
        seen: Seen,
    ) -> None:
        own = self.written(activation, seen)
        activation.copy_(torch.where(where.unsqueeze(-1), activation + (new.to(own) - own), activation))
