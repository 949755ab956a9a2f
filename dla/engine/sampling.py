"""Logits at many positions without unembedding all of them: a sample proves that columns of `W_U` give the model's own.

The unembedding is a linear map that treats each position alone, which was seen when the model was looked at. Whether
the columns that an attribution uses are those of that map is seen in every run, on a sample of its own positions.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from dla.adapters.base import ModelAdapter
from dla.adapters.user_hooks import is_readout_hooked
from dla.adapters.watching import in_sample, is_hooked
from dla.directions import ResolvedDirection
from dla.engine.contraction import merged
from dla.engine.logits import LogitReader
from dla.errors import ReconstructionError
from dla.inputs.prompts import Positions

EVERY = 16
"""One position of so many is unembedded, in every prompt."""

ROUNDINGS = 8.0
"""How many rounding units the columns may miss the model's own logits by; as for sums of parts."""


def can_sample(model: ModelAdapter, positions: Positions, resolved: Sequence[ResolvedDirection]) -> bool:
    """Whether there are positions to spare, the logits of single tokens are asked for, and nobody edits them."""
    unembedding = model.anatomy.unembedding
    module, kept = unembedding.module, positions.index.shape[1]
    known = module is not None and unembedding.transform is not None and not is_hooked(module)
    known = known and not is_readout_hooked(model, module)
    return known and kept > EVERY and all(one.dense is None and one.at is None for one in resolved)


def run_in_sample(
    model: ModelAdapter,
    tokens: Int[Tensor, "batch pos"],
    index: Int[Tensor, "batch query"],
    observe: Mapping[str, Callable[[Tensor], None]],
    questions: Sequence[LogitReader],
) -> None:
    """Runs the model, and tells the questions what the stream says in the columns that they ask about.

    Raises:
        ReconstructionError: If on the sample those are not the model's own logits.
    """
    unembedding = model.anatomy.unembedding
    assert unembedding.module is not None
    sample = torch.arange(0, index.shape[1], EVERY, device="cpu")

    def see(stream: Tensor) -> None:
        for question in questions:
            question.keep_columns(stream)

    def compare(logits: Tensor) -> None:
        misses = [question.columns_miss(logits, sample).flatten() for question in questions]
        missed = max((float(miss.max()) for miss in misses if len(miss)), default=0.0)
        if not missed <= ROUNDINGS * model.anatomy.eps:
            raise ReconstructionError(
                f"The columns of W_U that are asked about miss the model's own logits by {missed:.1e} of what adds up "
                f"(allowed: {ROUNDINGS * model.anatomy.eps:.1e}). Pass unembed='all', so that every logit is the "
                "model's own."
            )

    groups = [observe, *(question.norm_observers() for question in questions), {unembedding.logits.name: compare}]
    with in_sample(unembedding.module, index, sample, see):
        model.run(tokens, merged(groups), None)
