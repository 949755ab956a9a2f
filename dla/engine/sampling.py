"""Logits at many positions without unembedding all of them: a sample proves that columns of `W_U` give the model's own.

The unembedding is a linear map that treats each position alone, which was seen when the model was looked at. Whether
the columns that an attribution uses are those of that map is seen in every run, on a sample of its own positions.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters.base import Observer
from dla.adapters.user_hooks import is_readout_hooked
from dla.adapters.watching import in_sample, is_hooked
from dla.engine.activations import merged_observers
from dla.engine.logits import LogitReader, NormWatch, Readings, WeighedLogits, each_of, readings_of
from dla.engine.query import Query
from dla.engine.readout import DirectionAtReadout
from dla.errors import ReconstructionError
from dla.tolerances import COLUMN_TOLERANCE

EVERY = 16
"""One position of so many is unembedded, in every prompt."""


@final
class SampledLogits(LogitReader):
    """Reads the stream that is unembedded in the columns asked about, and compares a sample with the model's logits."""

    def __init__(self, query: Query, directions: Sequence[DirectionAtReadout]) -> None:
        """Runs nothing yet.

        Args:
            query: What is asked; see `can_sample`.
            directions: Its directions.
        """
        self._query, self._directions = query, directions

    def run(self, observers: Mapping[str, Observer]) -> Readings:
        """One run.

        Raises:
            ReconstructionError: If on the sample the columns are not the model's own logits.
        """
        query, norm, seen = self._query, NormWatch(self._query), list[Tensor]()
        index, unembedding = query.positions.index, query.unembedding
        assert unembedding.module is not None
        sample = torch.arange(0, index.shape[1], EVERY, device="cpu")
        compare = {unembedding.logits.name: partial(self._compare, seen, sample)}
        with in_sample(unembedding.module, index, sample, seen.append):
            query.model.run(query.prompts.tokens, merged_observers([observers, norm.observers(), compare]), None)
        stream = self._widened(seen[0])
        return readings_of(query, self._directions, norm.scale(), stream, self._weighed(stream, norm))

    def _widened(self, stream: Float[Tensor, "batch query d_model"]) -> Float[Tensor, "batch query d_model"]:
        unembedding = self._query.unembedding
        return unembedding.normalised.read(stream).to(unembedding.W_U.device, self._query.select.dtype)

    def _weighed(self, stream: Float[Tensor, "batch query d_model"], norm: NormWatch) -> WeighedLogits:
        transform, lost = self._query.unembedding.transform, norm.lost(stream)
        assert transform is not None
        columns = {one: one.columns_of(stream)[0] for one in self._directions}
        each = partial(each_of, self._directions)
        return WeighedLogits(
            logit=each(lambda one: one.weigh_columns(columns[one])),
            output_logit=each(lambda one: one.weigh_columns(transform(columns[one]))),
            size=each(lambda one: one.weigh_columns(columns[one].abs(), torch.abs)),
            lost=None if lost is None else each(lambda one: one.lost_in_norm(lost)),
        )

    def _compare(self, seen: Sequence[Tensor], sample: Int[Tensor, " some"], logits: Tensor) -> None:
        stream = self._widened(seen[0].index_select(1, sample.to(seen[0].device)))
        misses = [self._miss(direction, stream, logits, sample) for direction in self._directions]
        missed, allowed = max(misses, default=0.0), COLUMN_TOLERANCE * self._query.model.anatomy.eps
        if not missed <= allowed:
            raise ReconstructionError(
                f"The columns of W_U that are asked about miss the model's own logits by {missed:.1e} of what adds up "
                f"(allowed: {allowed:.1e}). Pass unembed='all', so that every logit is the model's own."
            )

    def _miss(
        self,
        direction: DirectionAtReadout,
        stream: Float[Tensor, "batch some d_model"],
        logits: Float[Tensor, "batch some d_vocab"],
        sample: Int[Tensor, " some"],
    ) -> float:
        """By how much, relative to what adds up in each, the columns miss the logits at the sample, at most.

        What rounding the logits themselves explains is not counted.
        """
        terms, size = direction.columns_of(stream, sample)
        rounding = self._query.unembedding.rounding
        excused = 0.0 if rounding is None else rounding.logits.unit * terms.abs() + rounding.logits.sums * size
        missed = ((direction.own_columns(logits, sample) - terms).abs() - excused).clamp(min=0.0)
        miss = missed / size.clamp(min=torch.finfo(size.dtype).tiny)
        return float(miss.max()) if miss.numel() else 0.0


def can_sample(query: Query) -> bool:
    """Whether there are positions to spare, the logits of single tokens are asked for, and nobody edits them."""
    unembedding = query.unembedding
    module = unembedding.module
    known = query.cache is None and module is not None and unembedding.transform is not None and not is_hooked(module)
    known = known and not is_readout_hooked(query.model, module)
    few = all(one.dense is None and one.at is None for one in query.resolved)
    return known and few and query.positions.index.shape[1] > EVERY
