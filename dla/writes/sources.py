"""Attention heads by the positions that they read: one part for each head and source, or span of sources."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.inputs.arguments import check_fields
from dla.labels import Label
from dla.writes.base import Write, check_labels, pull_through
from dla.writes.routes import DIRECT, Activations, Route
from dla.writes.sites import Site

# How many products `pattern * value` exist at the same time; positions beyond that are taken in turn.
_AT_A_TIME = 2**24


@final
@dataclass(frozen=True, eq=False)
class Sources(Write):
    """One part for each head and source position: `pattern[h, q, s] * v[s, h] @ W_O[h]`; heads share values.

    The value bias of each head is a part of its own, `(Σ_s pattern[h, q, s]) * b_V[h] @ W_O[h]`. The rows of a pattern
    sum to 1, or to less where there are attention sinks.

    Attributes:
        pattern: `[batch head pos source]`.
        v: `[batch source group d_head]`, with the bias; head `h` reads the group `h // (heads / groups)`.
        W_O: The output weight.
        b_V: The value bias; None if there is none.
        parts: One label per head and source, all sources of a head in a row; then one per head if there is a bias.
        route: From the heads' output to the stream.
        spans: Which part of its head each source belongs to, where several sources are one; None for a part each.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Ainslie et al. 2023, "GQA"
    (arXiv 2305.13245).
    """

    pattern: Site
    v: Site
    W_O: Float[Tensor, "head d_head d_model"]
    b_V: Float[Tensor, "group d_head"] | None
    parts: Sequence[Label]
    route: Route = DIRECT
    spans: Int[Tensor, "batch source"] | None = None

    def __post_init__(self) -> None:
        check_fields(self, pattern=Site, v=Site, W_O=Tensor, b_V=(Tensor, type(None)), parts=Sequence, route=Route)
        check_fields(self, spans=(Tensor, type(None)))
        check_labels(self.parts)

    @property
    def labels(self) -> Sequence[Label]:
        return self.parts

    @property
    def reads(self) -> tuple[Site, ...]:
        return (self.pattern, self.v, *self.route.reads)

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        v, pattern = activations[self.v], activations[self.pattern]
        # [... head d_head] -> [... group share d_head], for the heads that share the values of a group
        pulled = pull_through(self.route.pull_back(direction), self.W_O).unflatten(-2, (v.shape[2], -1))
        batch, heads, positions, sources = pattern.shape
        rows = pulled.new_empty(*pulled.shape[:-5], len(self.parts), batch, positions)
        width = max(1, _AT_A_TIME // (batch * heads * sources))
        # Positions in turn: all products of a long prompt with each other would need more memory than the model.
        for some in (slice(start, start + width) for start in range(0, positions, width)):
            of_some = pulled if pulled.shape[-4] == 1 else pulled[..., some, :, :, :]
            rows[..., some] = self._rows(of_some, v, pattern[:, :, some])
        return self.route.rescale(rows, activations)

    def _rows(
        self,
        pulled: Float[Tensor, "*more #batch #pos group share d_head"],
        v: Float[Tensor, "batch source group d_head"],
        pattern: Float[Tensor, "batch head pos source"],
    ) -> Float[Tensor, "*more part batch pos"]:
        # b batch, q position, s source, g group of heads with the same values, r head in its group, d d_head
        pattern = pattern.unflatten(1, (v.shape[2], -1))
        values = torch.einsum("...bqgrd,bsgd->...bgrqs", pulled, self.without_bias(v)) * pattern
        if self.spans is not None:
            values = torch.einsum("...bgrqs,bsn->...bgrqn", values, self.membership(v))
        # [... b g r q s] -> [... b head q s] -> [... head s b q] -> [... part b q]
        rows = values.flatten(-4, -3).movedim((-3, -1), (-4, -3)).flatten(-4, -3)
        if self.b_V is None:
            return rows
        biases = torch.einsum("...bqgrd,gd->...bgrq", pulled, self.b_V.to(v)) * pattern.sum(-1)
        return torch.cat([rows, biases.flatten(-3, -2).movedim(-2, -3)], -3)  # [... b g r q] -> [... head b q]

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        v, pattern = activations[self.v], activations[self.pattern]
        W_O, share = self.W_O.to(v), self.W_O.shape[0] // v.shape[2]
        carried = self.without_bias(v).repeat_interleave(share, 2)
        if self.spans is None:
            rows = torch.einsum("bhqs,bshi,hid->hsbqd", pattern, carried, W_O).flatten(0, 1)
        else:
            membership = self.membership(v)
            rows = torch.einsum("bhqs,bsn,bshi,hid->hnbqd", pattern, membership, carried, W_O).flatten(0, 1)
        if self.b_V is not None:
            bias = self.b_V.to(v).repeat_interleave(share, 0)
            rows = torch.cat([rows, torch.einsum("bhqs,hi,hid->hbqd", pattern, bias, W_O)])
        return self.route.push_forward(rows, activations)

    def membership(self, like: Float[Tensor, "..."]) -> Float[Tensor, "batch source span"]:
        """1 where a source belongs to a span, else 0."""
        assert self.spans is not None
        heads = len(self.W_O)
        count = len(self.parts) // heads - (self.b_V is not None)
        return torch.nn.functional.one_hot(self.spans.to(like.device), count).to(like)

    def without_bias(self, v: Float[Tensor, "batch source group d_head"]) -> Float[Tensor, "batch source group d_head"]:
        """The values without the value bias, which is a part of its own."""
        return v if self.b_V is None else v - self.b_V.to(v)
