"""How the last stream becomes logits: final norm, unembedding, output transform."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dla.writes import BoundedValue, Computation, Precision, lost_in
from dla.writes.routes import Norm
from dla.writes.sites import Site

_SLICE = 8192  # how many tokens of the vocabulary are computed together


@final
@dataclass(frozen=True, eq=False)
class UnembeddingRounding:
    """The steps of the readout, where they round visibly.

    Attributes:
        normalised: The step from the last stream to the unembedding's input.
        logits: The precision of the product with `W_U`.
    """

    normalised: Computation
    logits: Precision


@final
@dataclass(frozen=True, eq=False)
class Unembedding:
    """The readout: final norm, unembedding, output transform.

    Attributes:
        norm: The final norm; None if the model has none.
        W_U: The weight.
        b_U: The bias; None if there is none.
        normalised: Where the unembedding's input is read, `[batch pos d_model]`.
        logits: Where the logits before the output transform are read, `[batch pos d_vocab]`.
        transform: From those logits to what the model returns, entry by entry (soft cap, logit scale); None if it is
            not known, in which case the model must be run.
        multiplier: A constant between the final norm and the unembedding.
        rounding: The steps of the readout, in half precision; None in float32 or finer.
        module: The unembedding itself, by which many positions are unembedded a few at a time; None if it is not known.
    """

    norm: Norm | None
    W_U: Float[Tensor, "d_model d_vocab"]
    b_U: Float[Tensor, " d_vocab"] | None
    normalised: Site
    logits: Site
    transform: Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]] | None
    multiplier: float = 1.0
    rounding: UnembeddingRounding | None = None
    module: nn.Module | None = None

    def read_back(self, weights: Float[Tensor, "*more d_vocab"]) -> Float[Tensor, "*more d_model"]:
        """`W_U @ weights`, summed in float64."""
        # Tens of thousands of terms in float32 lose more than the tolerance; all of `W_U` in float64 is too large.
        slices = zip(weights.split(_SLICE, -1), self.W_U.split(_SLICE, -1), strict=True)
        return torch.stack([w.double() @ W_U.T.to(w.device, torch.float64) for w, W_U in slices]).sum(0).to(weights)

    def logits_of(
        self, stream: Float[Tensor, "batch pos d_model"], ids: Int[Tensor, "#batch #pos term"], precision: Precision
    ) -> BoundedValue:
        """The logits of some tokens, with how far rounding may move them.

        Args:
            stream: The unembedding's input.
            ids: The tokens.
            precision: That of the product with `W_U`.
        """
        columns = self.W_U.T[ids].to(stream)
        value = torch.linalg.vecdot(stream.unsqueeze(2), columns)
        size = stream.norm(dim=-1, keepdim=True) * columns.norm(dim=-1)
        return BoundedValue.of_product(value, size, None if self.b_U is None else self.b_U[ids], precision)

    def lost_in_all(
        self,
        stream: Float[Tensor, "batch pos d_model"],
        logits: Float[Tensor, "batch pos d_vocab"],
        weights: Float[Tensor, "#batch #pos d_vocab"],
        precision: Precision,
    ) -> Float[Tensor, "batch pos"]:
        """What the logits lost by rounding, summed with a weight for each token.

        Args:
            stream: The unembedding's input.
            logits: The model's own, before the output transform.
            weights: One per token of the vocabulary.
            precision: That of the product with `W_U`.
        """
        total, length = torch.zeros_like(logits[..., 0]), stream.norm(dim=-1, keepdim=True)
        for start in range(0, self.W_U.shape[1], _SLICE):
            some = slice(start, start + _SLICE)
            W_U, b_U = self.W_U[:, some].to(stream), None if self.b_U is None else self.b_U[some]
            exact = BoundedValue.of_product(stream @ W_U, length * W_U.norm(dim=0), b_U, precision)
            total = total + (lost_in(exact, logits[..., some]) * weights[..., some]).sum(-1)
        return total
