"""Logits at many positions without unembedding all of them: a sample proves that columns of `W_U` give the model's own.

The unembedding is a linear map that treats each position alone, which was seen when the model was looked at. Whether
the columns that an attribution uses are those of that map is seen at every position in an attributor's first run, and
on a sample of the positions in every other.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters.base import Observer
from dla.adapters.user_hooks import is_readout_hooked
from dla.adapters.watching import in_sample, is_hooked, merged_observers
from dla.engine.columns import check_columns
from dla.engine.logits import LogitReader, NormWatch, Readings, WeighedLogits, each_of, readings_of
from dla.engine.query import Query
from dla.engine.readout import DirectionAtReadout
from dla.inputs.positions import Positions

EVERY = 16
"""One position of so many is unembedded."""


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
        sample = sample_of(query.positions)
        compare = {unembedding.logits.name: partial(self._compare, seen, sample)}
        with in_sample(unembedding.module, index, sample, seen.append):
            query.model.run(query.prompts.tokens, merged_observers([observers, norm.observers(), compare]), None)
        stream = self._widened(seen[0])
        return readings_of(query, self._directions, norm, stream, self._weighed(stream))

    def _widened(self, stream: Float[Tensor, "batch query d_model"]) -> Float[Tensor, "batch query d_model"]:
        unembedding = self._query.unembedding
        return unembedding.normalised.read(stream).to(unembedding.W_U.device, self._query.select.dtype)

    def _weighed(self, stream: Float[Tensor, "batch query d_model"]) -> WeighedLogits:
        transform = self._query.unembedding.transform
        assert transform is not None
        columns = {one: one.columns_of(stream)[0] for one in self._directions}
        each = partial(each_of, self._directions)
        return WeighedLogits(
            logit=each(lambda one: one.weigh_columns(columns[one])),
            output_logit=each(lambda one: one.weigh_columns(transform(columns[one]))),
            size=each(lambda one: one.weigh_columns(columns[one].abs(), torch.abs)),
            lost=None,
        )

    def _compare(self, seen: Sequence[Tensor], sample: Int[Tensor, " some"], logits: Tensor) -> None:
        stream = self._widened(seen[0].index_select(1, sample.to(seen[0].device)))
        check_columns(self._query, self._directions, stream, logits, sample)


def sample_of(positions: Positions) -> Int[Tensor, " some"]:
    """Which of the positions asked about are unembedded: one in `EVERY`, and of each prompt at least one it has."""
    chosen = torch.zeros(positions.index.shape[1], dtype=torch.bool, device="cpu")
    chosen[::EVERY] = True
    valid = positions.valid.cpu()
    missed = ~valid[:, chosen].any(1) & valid.any(1)
    chosen[valid[missed].int().argmax(1)] = True
    return chosen.nonzero().squeeze(1)


def can_sample(query: Query) -> bool:
    """Whether there are positions to spare, the logits of single tokens are asked for, and nobody edits them.

    Not where the readout rounds visibly, in half precision: there the columns give another number than the model does.
    """
    unembedding = query.unembedding
    module = unembedding.module
    known = query.cache is None and module is not None and unembedding.transform is not None and not is_hooked(module)
    known = known and not is_readout_hooked(query.model, module)
    few = unembedding.rounding is None and all(one.dense is None and one.at is None for one in query.resolved)
    return known and few and query.positions.index.shape[1] > EVERY
