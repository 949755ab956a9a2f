"""The features of a dictionary, each as a part, and the parts that no feature explains."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.inputs.arguments import check_fields
from dla.labels import Label
from dla.writes.base import Write, check_labels, dot
from dla.writes.blocks import product
from dla.writes.dictionaries import Dictionary
from dla.writes.routes import DIRECT, Activations, Route
from dla.writes.sites import Site


@final
@dataclass(frozen=True, eq=False)
class Features(Write):
    """One part for each feature, then `b_dec`, the skip connection if there is one, and what is left unexplained.

    The error is `y` minus the dictionary's reconstruction of it. That is a vector of the run like any other; it is not
    computed as what is missing from the sum of the rows.

    Attributes:
        dictionary: What encodes `x` and explains `y`.
        read: Where `x` is read, `[batch pos d_in]`, or `[batch pos head d_head]` for a dictionary with `by_head`.
        written: Where `y` is read, `[batch pos d_out]`.
        weight: From `y` to what is added (`W_O` of all heads, for a dictionary of `z`); None where `y` is itself added.
        parts: One label per feature, then those of the rest.
        route: From there to the stream.

    Source: Bricken et al. 2023, "Towards Monosemanticity"; Dunefsky et al. 2024 (arXiv 2406.11944) for transcoders.
    """

    dictionary: Dictionary
    read: Site
    written: Site
    weight: Float[Tensor, "d_out d_model"] | None
    parts: Sequence[Label]
    route: Route = DIRECT

    def __post_init__(self) -> None:
        optional = (Tensor, type(None))
        check_fields(self, dictionary=Dictionary, read=Site, written=Site, weight=optional, parts=Sequence, route=Route)
        check_labels(self.parts)

    @property
    def labels(self) -> Sequence[Label]:
        return self.parts

    @property
    def reads(self) -> tuple[Site, ...]:
        return tuple(dict.fromkeys((self.read, self.written, *self.route.reads)))

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        return self._contracted(*self.explained(activations), activations, direction)

    def made(self, activations: Activations) -> Float[Tensor, "batch pos feature"]:
        """The features."""
        return self.explained(activations)[0]

    def contract_made(
        self,
        made: Float[Tensor, "batch pos feature"],
        ones: Float[Tensor, "batch pos"],
        activations: Activations,
        direction: Float[Tensor, "*more #batch #pos d_model"],
    ) -> Float[Tensor, "*more part #batch #pos"]:
        """As `contract`, of the features that `made` gave and of a multiple of `b_dec`: linear in both."""
        _, offset = self.dictionary.explain(activations[self.read].detach())
        rest = self._rest(made, offset * ones.unsqueeze(-1), activations)
        return self._contracted(made, rest, activations, direction)

    def _contracted(
        self,
        features: Float[Tensor, "batch pos feature"],
        rest: Float[Tensor, "rest batch pos d_out"],
        activations: Activations,
        direction: Float[Tensor, "*more #batch #pos d_model"],
    ) -> Float[Tensor, "*more part #batch #pos"]:
        pulled = self.route.pull_back(direction)
        pulled = pulled if self.weight is None else product(pulled, self.weight.T)
        values = features * product(pulled, self.dictionary.W_dec.T)
        others = dot(rest, pulled.unsqueeze(-4))  # [*more rest batch pos]
        # [*more batch pos feature] -> [*more feature batch pos], then the rest after the features
        rows = torch.cat([values.movedim(-1, -3), others.expand(*values.shape[:-3], *others.shape[-3:])], -3)
        return self.route.rescale(rows, activations)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        features, rest = self.explained(activations)
        vectors = torch.cat([torch.einsum("bpf,fd->fbpd", features, self.dictionary.W_dec.to(features)), rest])
        vectors = vectors if self.weight is None else vectors @ self.weight.to(vectors)
        return self.route.push_forward(vectors, activations)

    def explained(
        self, activations: Activations
    ) -> tuple[Float[Tensor, "batch pos feature"], Float[Tensor, "rest batch pos d_out"]]:
        """The features, and the rest: `b_dec`, the skip connection, the error."""
        features, offset = self.dictionary.explain(activations[self.read])
        return features, self._rest(features, offset, activations)

    def _rest(
        self,
        features: Float[Tensor, "batch pos feature"],
        offset: Float[Tensor, "batch pos d_out"],
        activations: Activations,
    ) -> Float[Tensor, "rest batch pos d_out"]:
        x, y, W_skip = activations[self.read], activations[self.written], self.dictionary.W_skip
        known = [offset] if W_skip is None else [offset, x.flatten(2) @ W_skip.T.to(x)]
        error = y - features @ self.dictionary.W_dec.to(features) - torch.stack(known).sum(0)
        return torch.stack([*known, error])
