"""What is measured at the model's readout: the scale, the stream after the final norm, the model's own logits."""

from collections.abc import Callable
from functools import partial
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.linalg import vector_norm

from dla.adapters.anatomy import Unembedding
from dla.directions import ResolvedDirection
from dla.engine.contraction import PositionSelector
from dla.writes import lost_in
from dla.writes.sites import Site, as_it_is

Elementwise = Callable[[Tensor], Tensor]


@final
class LogitReader:
    """A direction at one model's unembedding: the direction, its constant, and what the model itself answers.

    The answer never uses the parts: it is picked from the logits that the model computed.
    """

    def __init__(self, resolved: ResolvedDirection, unembedding: Unembedding, select: PositionSelector) -> None:
        """Turns the direction into a vector of the stream.

        Args:
            resolved: Weighted tokens and a vector.
            unembedding: The model's.
            select: Takes the positions that are asked about.

        Raises:
            ValueError: If the vector is not as wide as the stream.
        """
        _check_width(resolved, unembedding)
        self._unembedding, self._select = unembedding, select
        device, dtype = unembedding.W_U.device, select.dtype
        self._ids, self._weights = resolved.ids.to(device), resolved.weights.to(device, dtype)
        self._vector = None if resolved.vector is None else resolved.vector.to(device, dtype)
        self._dense = None if resolved.dense is None else resolved.dense.to(device, dtype)
        columns = unembedding.W_U.T[self._ids].to(dtype)
        asked = torch.einsum("bptd,t->bpd", columns, self._weights)
        asked = asked if self._dense is None else asked + unembedding.read_back(self._dense)
        self._asked = asked if self._vector is None else asked + self._vector
        self._told: list[Tensor] = []
        self._told_after: list[Tensor] = []
        self._size: list[Tensor] = []
        self._normalised: list[Tensor] = []
        self._terms = (torch.empty(0), torch.empty(0))
        self._lost: list[Tensor] = []
        self._arrived: dict[Site, Tensor] = {}

    def direction(self) -> Float[Tensor, "#batch #pos d_model"]:
        """`d̂` times the final norm's scale: what reads the stream before that norm."""
        asked = self._asked * self._unembedding.multiplier
        return asked if self._unembedding.norm is None else self._unembedding.norm.pull_back(asked)

    def constant(self) -> Float[Tensor, "#batch #pos"]:
        """`β · W_U + b_U` for what is asked: the same whatever the stream holds."""
        constant = self._asked.new_zeros(self._asked.shape[:2])
        norm, b_U = self._unembedding.norm, self._unembedding.b_U
        if norm is not None and norm.bias is not None:
            constant = constant + self._asked @ norm.bias.to(self._asked) * self._unembedding.multiplier
        if b_U is not None:
            constant = constant + b_U[self._ids].to(self._asked) @ self._weights
        if b_U is not None and self._dense is not None:
            constant = constant + self._dense @ b_U.to(self._dense)
        return constant

    def observers(self) -> dict[str, Callable[[Tensor], None]]:
        """What to call with the activations at the readout; with slices of positions, in order, where it is sliced."""
        return {
            **self.norm_observers(),
            self._unembedding.normalised.name: self._keep_stream,
            self._unembedding.logits.name: self._keep_logits,
        }

    def norm_observers(self) -> dict[str, Callable[[Tensor], None]]:
        """The same where the logits are found by `keep_columns`."""
        norm, rounding = self._unembedding.norm, self._unembedding.rounding
        sites = [*(() if norm is None else (norm.scale,)), *(() if rounding is None else rounding.normalised.reads)]
        return {site.name: partial(self._keep, site) for site in dict.fromkeys(sites)}

    def keep_columns(self, stream: Float[Tensor, "batch query d_model"]) -> None:
        """Takes the stream that is unembedded, and reads it in the columns of `W_U` that are asked about."""
        unembedding = self._unembedding
        stream = unembedding.normalised.read(stream).to(self._asked)
        self._lose_in_norm(stream)
        columns = unembedding.W_U.T[self._ids].to(stream)
        terms = torch.linalg.vecdot(stream.unsqueeze(2), columns)
        terms = terms if unembedding.b_U is None else terms + unembedding.b_U[self._ids].to(stream)
        assert unembedding.transform is not None
        self._told, self._told_after = [terms @ self._weights], [unembedding.transform(terms) @ self._weights]
        self._size, self._normalised = [terms.abs() @ self._weights.abs()], [stream]
        self._terms = terms, torch.linalg.vecdot(stream.abs().unsqueeze(2), columns.abs())

    def columns_miss(
        self, logits: Float[Tensor, "batch some d_vocab"], sample: Int[Tensor, " some"]
    ) -> Float[Tensor, "batch some term"]:
        """By how much, relative to what adds up in each, the columns miss the model's own logits at a sample.

        What rounding the logits themselves explains is not counted.
        """
        terms, size = (each.index_select(1, sample.to(each.device)) for each in self._terms)
        ids = self._ids if self._ids.shape[1] == 1 else self._ids.index_select(1, sample.to(self._ids.device))
        own = logits.gather(-1, ids.to(logits.device).expand(*logits.shape[:2], -1)).to(terms)
        rounding = self._unembedding.rounding
        excused = 0.0 if rounding is None else rounding.logits.unit * terms.abs() + rounding.logits.sums * size
        missed = ((own - terms).abs() - excused).clamp(min=0.0)
        return missed / size.clamp(min=torch.finfo(size.dtype).tiny)

    def scale(self) -> Float[Tensor, "batch pos"] | None:
        """The final norm's scale; None where there is no norm."""
        norm = self._unembedding.norm
        return None if norm is None else self._arrived[norm.scale]

    def lost(self) -> Float[Tensor, "batch pos"]:
        """What the readout rounds away, in logits: the final norm's rounding, and that of the logits themselves."""
        return torch.cat(self._lost, 1)

    def answer(self) -> Float[Tensor, "batch pos"]:
        """The model's own logit, or combination of logits, before its output transform."""
        return self._with_vector(torch.cat(self._told, 1))

    def transformed_answer(self, logits: Tensor | None) -> Float[Tensor, "batch pos"]:
        """The same after the output transform: from the logits that the model returned, else by the transform."""
        told = torch.cat(self._told_after, 1) if logits is None else self._weigh(self._select.rows_of(logits, 1))
        return self._with_vector(told)

    def magnitude(self) -> Float[Tensor, "batch pos"]:
        """How large the numbers are that cancel in the answer; the model's rounding is a multiple of this."""
        # in float64: in float32 the squares of a direction of 1e30 are infinite, and so would be what is allowed
        length, size = (
            vector_norm(v, dim=-1, dtype=torch.float64) for v in (self._asked, torch.cat(self._normalised, 1))
        )
        spread = length * size / self._asked.shape[-1] ** 0.5
        magnitude: Tensor = torch.cat(self._size, 1) + self.constant().abs() + spread.to(self._asked)
        return magnitude

    def _keep(self, site: Site, activation: Tensor) -> None:
        self._arrived[site] = self._select(site, activation).to(self._asked.device)

    def sketch(self) -> Float[Tensor, "batch pos five"]:
        """A few numbers that another run's stream would hardly share: its length, and four fixed random projections."""
        stream = torch.cat(self._normalised, 1)
        d_model = stream.shape[-1]
        generator = torch.Generator(device="cpu").manual_seed(d_model)
        signs = torch.randint(2, (d_model, 4), generator=generator, device="cpu") * 2 - 1
        return torch.cat([stream.norm(dim=-1, keepdim=True), stream @ (signs.to(stream) / d_model**0.5)], -1)

    def _keep_logits(self, logits: Tensor) -> None:
        logits = self._select.rows_of(logits, 1)
        transform, start = self._unembedding.transform, sum(told.shape[1] for told in self._told)
        self._lose_in_logits(logits, start)
        told = self._weigh(logits, start=start)
        self._told.append(told)
        self._told_after.append(told * torch.nan if transform is None else self._weigh(logits, transform, start=start))
        self._size.append(self._weigh(logits, torch.abs, torch.abs, start))

    def _keep_stream(self, normalised: Tensor) -> None:
        stream = self._select(self._unembedding.normalised, normalised).to(self._asked.device)
        self._lose_in_norm(stream)
        self._normalised.append(stream)

    def _lose_in_norm(self, stream: Float[Tensor, "batch pos d_model"]) -> None:
        """Keeps what is lost on the way from the last stream to what is unembedded, at some positions."""
        rounding, start = self._unembedding.rounding, sum(lost.shape[1] for lost in self._lost)
        if rounding is None:
            return
        here = slice(start, start + stream.shape[1])
        lost = lost_in(rounding.normalised.at({site: x[:, here] for site, x in self._arrived.items()}), stream)
        self._lost.append(torch.linalg.vecdot(lost, _slice(self._asked, start, stream.shape[1])))

    def _lose_in_logits(self, logits: Float[Tensor, "batch pos d_vocab"], start: int) -> None:
        """Adds what the logits that are asked about lost when they were rounded."""
        rounding = self._unembedding.rounding
        if rounding is None or not (self._ids.shape[-1] or self._dense is not None):
            return
        stream, own = self._normalised[-1], logits.to(self._asked)
        ids = _slice(self._ids, start, logits.shape[1]).expand(*logits.shape[:2], -1)
        exact = self._unembedding.logits_of(stream, ids, rounding.logits)
        self._lost[-1] = self._lost[-1] + lost_in(exact, own.gather(-1, ids)) @ self._weights
        if self._dense is not None:
            dense = _slice(self._dense, start, logits.shape[1])
            self._lost[-1] = self._lost[-1] + self._unembedding.lost_in_all(stream, own, dense, rounding.logits)

    def _weigh(
        self,
        logits: Float[Tensor, "batch pos d_vocab"],
        of: Elementwise = as_it_is,
        weighed: Elementwise = as_it_is,
        start: int = 0,
    ) -> Float[Tensor, "batch pos"]:
        """The weighted sum of the logits that are asked about; `of` changes the logits, `weighed` the weights."""
        ids = _slice(self._ids.to(logits.device), start, logits.shape[1]).expand(*logits.shape[:2], -1)
        answer = of(logits.gather(-1, ids)).to(self._asked) @ weighed(self._weights)
        if self._dense is not None:
            dense = _slice(self._dense, start, logits.shape[1])
            answer = answer + (of(logits).to(self._asked) * weighed(dense)).sum(-1)
        return answer

    def _with_vector(self, answer: Float[Tensor, "batch pos"]) -> Float[Tensor, "batch pos"]:
        if self._vector is None:
            return answer
        return answer + (torch.cat(self._normalised, 1) * self._vector).sum(-1)


def _slice(tensor: Float[Tensor, "#batch #pos n"] | Int[Tensor, "#batch #pos n"], start: int, width: int) -> Tensor:
    """The part for some positions; all of it where it is the same for all."""
    return tensor if tensor.shape[1] == 1 else tensor[:, start : start + width]


def _check_width(resolved: ResolvedDirection, unembedding: Unembedding) -> None:
    d_model = unembedding.W_U.shape[0]
    if resolved.vector is not None and resolved.vector.shape[-1] != d_model:
        raise ValueError(
            f"The residual vector's last axis is [{resolved.vector.shape[-1]}] long and the model's stream {d_model}. "
            f"Pass a vector of {d_model} numbers."
        )
