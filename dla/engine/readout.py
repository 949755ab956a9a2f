"""One direction at a model's readout: which columns of `W_U` it weighs, and the vector of the stream that they make."""

from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.linalg import vecdot, vector_norm

from dla.adapters.unembedding import Unembedding
from dla.directions import ResolvedDirection
from dla.writes import as_it_is, lost_in

Elementwise = Callable[[Tensor], Tensor]


@final
class DirectionAtReadout:
    """A resolved direction, on the device of one model's unembedding and in the precision of the sums."""

    def __init__(self, resolved: ResolvedDirection, unembedding: Unembedding, dtype: torch.dtype) -> None:
        """Turns the direction into a vector of the stream.

        Args:
            resolved: Weighted tokens and a vector.
            unembedding: The model's.
            dtype: That of the sums.

        Raises:
            ValueError: If the vector is not as wide as the stream.
        """
        _check_width(resolved, unembedding)
        device = unembedding.W_U.device
        self._unembedding = unembedding
        self._ids, self._weights = resolved.ids.to(device), resolved.weights.to(device, dtype)
        self._vector = None if resolved.vector is None else resolved.vector.to(device, dtype)
        self._dense = None if resolved.dense is None else resolved.dense.to(device, dtype)
        none = torch.zeros(1, 1, device=device, dtype=dtype)
        self._offset = none if resolved.offset is None else resolved.offset.to(device, dtype)
        reads = torch.einsum("bptd,t->bpd", unembedding.W_U.T[self._ids].to(dtype), self._weights)
        reads = reads if self._dense is None else reads + unembedding.read_back(self._dense)
        self._reads = reads if self._vector is None else reads + self._vector

    def before_norm(self) -> Float[Tensor, "#batch #pos d_model"]:
        """`d̂` times the final norm's scale: what reads the stream before that norm."""
        reads = self._reads * self._unembedding.multiplier
        return reads if self._unembedding.norm is None else self._unembedding.norm.pull_back(reads)

    def constant(self) -> Float[Tensor, "#batch #pos"]:
        """`β · W_U + b_U` for what is asked, and its offset: the same whatever the stream holds."""
        constant = self._offset.expand(torch.broadcast_shapes(self._offset.shape, self._reads.shape[:2]))
        norm, b_U = self._unembedding.norm, self._unembedding.b_U
        if norm is not None and norm.bias is not None:
            constant = constant + self._reads @ norm.bias.to(self._reads) * self._unembedding.multiplier
        if b_U is not None:
            constant = constant + b_U[self._ids].to(self._reads) @ self._weights
        if b_U is not None and self._dense is not None:
            constant = constant + self._dense @ b_U.to(self._dense)
        return constant

    def weigh(
        self,
        logits: Float[Tensor, "batch some d_vocab"],
        start: int = 0,
        of: Elementwise = as_it_is,
        weighed: Elementwise = as_it_is,
    ) -> Float[Tensor, "batch some"]:
        """The weighted sum of logits.

        Args:
            logits: At some of the positions.
            start: The first of them.
            of: Changes the logits.
            weighed: Changes the weights.
        """
        answer = of(logits.gather(-1, self._ids_at(logits, start))).to(self._reads) @ weighed(self._weights)
        if self._dense is not None:
            dense = _some(self._dense, start, logits.shape[1])
            answer = answer + (of(logits).to(self._reads) * weighed(dense)).sum(-1)
        return answer

    def read_beside_logits(self, stream: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos"]:
        """What is read beside logits: by the vector, of the stream after the final norm, and the offset."""
        beside = self._offset.to(stream).expand(stream.shape[:2])
        return beside if self._vector is None else beside + (stream * self._vector).sum(-1)

    def columns_of(
        self, stream: Float[Tensor, "batch some d_model"], sample: Int[Tensor, " some"] | None = None
    ) -> tuple[Float[Tensor, "batch some term"], Float[Tensor, "batch some term"]]:
        """The logits that the stream has in the columns asked about, and the size of what adds up in each.

        Args:
            stream: What is unembedded, at all positions or at a sample of them.
            sample: Which of the positions; None for all.
        """
        ids, b_U = self._ids_in(sample), self._unembedding.b_U
        columns = self._unembedding.W_U.T[ids].to(stream)
        terms = vecdot(stream.unsqueeze(2), columns)
        terms = terms if b_U is None else terms + b_U[ids].to(stream)
        return terms, vecdot(stream.abs().unsqueeze(2), columns.abs())

    def own_columns(
        self, logits: Float[Tensor, "batch some d_vocab"], sample: Int[Tensor, " some"]
    ) -> Float[Tensor, "batch some term"]:
        """The model's own logits of those columns, at a sample of the positions."""
        ids = self._ids_in(sample).to(logits.device).expand(*logits.shape[:2], -1)
        return logits.gather(-1, ids).to(self._reads)

    def weigh_columns(
        self, terms: Float[Tensor, "batch pos term"], weighed: Elementwise = as_it_is
    ) -> Float[Tensor, "batch pos"]:
        """The weighted sum of the logits of those columns."""
        total: Tensor = terms @ weighed(self._weights)
        return total

    def spread(self, stream: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos"]:
        """`|direction| · rms(stream)`: how large the numbers are that cancel when the stream is read."""
        # in float64: in float32 the squares of a direction of 1e30 are infinite, and so would be what is allowed
        length, size = (vector_norm(v, dim=-1, dtype=torch.float64) for v in (self._reads, stream))
        spread: Tensor = length * size / self._reads.shape[-1] ** 0.5
        return spread.to(self._reads)

    def lost_in_norm(self, lost: Float[Tensor, "batch some d_model"], start: int = 0) -> Float[Tensor, "batch some"]:
        """What is lost of the stream on its way through the final norm, in logits."""
        in_logits: Tensor = vecdot(lost, _some(self._reads, start, lost.shape[1]))
        return in_logits

    def lost_in_logits(
        self, stream: Float[Tensor, "batch some d_model"], logits: Float[Tensor, "batch some d_vocab"], start: int = 0
    ) -> Float[Tensor, "batch some"]:
        """What the logits that are asked about lost when they were rounded."""
        rounding = self._unembedding.rounding
        if rounding is None or not (self._ids.shape[-1] or self._dense is not None):
            return stream.new_zeros(stream.shape[:2])
        own, ids = logits.to(self._reads), self._ids_at(logits, start).to(self._reads.device)
        exact = self._unembedding.logits_of(stream, ids, rounding.logits)
        lost: Tensor = lost_in(exact, own.gather(-1, ids)) @ self._weights
        if self._dense is not None:
            dense = _some(self._dense, start, logits.shape[1])
            lost = lost + self._unembedding.lost_in_all(stream, own, dense, rounding.logits)
        return lost

    def _ids_in(self, sample: Int[Tensor, " some"] | None) -> Int[Tensor, "#batch #some term"]:
        if sample is None or self._ids.shape[1] == 1:
            return self._ids
        return self._ids.index_select(1, sample.to(self._ids.device))

    def _ids_at(self, logits: Float[Tensor, "batch some d_vocab"], start: int) -> Int[Tensor, "batch some term"]:
        return _some(self._ids.to(logits.device), start, logits.shape[1]).expand(*logits.shape[:2], -1)


def _some(tensor: Float[Tensor, "#batch #pos n"] | Int[Tensor, "#batch #pos n"], start: int, width: int) -> Tensor:
    """The part for some positions; all of it where it is the same for all."""
    return tensor if tensor.shape[1] == 1 else tensor[:, start : start + width]


def _check_width(resolved: ResolvedDirection, unembedding: Unembedding) -> None:
    d_model = unembedding.W_U.shape[0]
    if resolved.vector is not None and resolved.vector.shape[-1] != d_model:
        raise ValueError(
            f"The residual vector's last axis is [{resolved.vector.shape[-1]}] long and the model's stream {d_model}. "
            f"Pass a vector of {d_model} numbers."
        )
