"""What the model itself says where it is asked: how likely are the tokens asked about, and what are its answers?"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.engine.query import Query
from dla.inputs.vocabulary import Vocabulary
from dla.provenance import Saying

FIRST = 5
"""How many of the model's own answers are kept."""

NEGLIGIBLE = 0.01
"""The probability below which another spelling of what is asked is not told."""

_MOST = 64
"""At how many places the whole vocabulary is looked at, which takes longer than the rows where there are more."""

_SPELLINGS = 16
"""Of how many tokens another spelling is looked up."""


@final
@dataclass(frozen=True, eq=False)
class ModelAnswers:
    """How likely some tokens are, at each place.

    Attributes:
        ids: The tokens that are asked about, those of all directions.
        others: The same words with or without a space in front, where that is a token; -1 where it is none.
        logs: The log-probabilities of both, one after the other.
        ranks: How many tokens are likelier, and one.
        first: The likeliest tokens.
        first_logs: Their log-probabilities.
    """

    ids: Int[Tensor, "batch some term"]
    others: Int[Tensor, "batch some term"]
    logs: Float[Tensor, "batch some both"]
    ranks: Int[Tensor, "batch some both"]
    first: Int[Tensor, "batch some k"]
    first_logs: Float[Tensor, "batch some k"]

    @staticmethod
    def joined(several: Sequence["ModelAnswers"]) -> "ModelAnswers | None":
        """Those of slices of the positions, in order; None of none."""
        names = ("ids", "others", "logs", "ranks", "first", "first_logs")
        if not several:
            return None
        return ModelAnswers(*(torch.cat([getattr(one, name) for one in several], 1) for name in names))

    def told(self, query: Query) -> tuple[tuple[tuple[Saying, ...], ...], tuple[tuple[Saying, ...], ...]]:
        """What is asked and the first answers, as text, at each place; nothing where a prompt has no such position."""
        text = query.prompts.vocabulary.text
        asked, first = list[tuple[Saying, ...]](), list[tuple[Saying, ...]]()
        likely = self.logs[..., self.ids.shape[-1] :] >= log(NEGLIGIBLE)
        both = torch.cat([self.ids, self.others.where(likely, -1)], -1)
        numbers = (query.positions.valid, both, self.logs, self.ranks, self.first, self.first_logs)
        flat = [tensor.flatten(0, 1).tolist() for tensor in numbers]
        for there, ids, logs, ranks, best, best_logs in zip(*flat, strict=True):
            found = {one: (text(one), p, rank) for one, p, rank in zip(ids, logs, ranks, strict=True) if one >= 0}
            asked.append(tuple(found.values()) if there else ())
            ranked = enumerate(zip(best, best_logs, strict=True), start=1)
            first.append(tuple((text(one), p, rank) for rank, (one, p) in ranked) if there else ())
        return tuple(asked), tuple(first)


def answers_at(query: Query, logits: Float[Tensor, "batch some d_vocab"], start: int) -> ModelAnswers | None:
    """What the model says at some of the positions; None where it is not asked, or at too many places.

    Args:
        query: What is asked.
        logits: The model's own there, before its output transform.
        start: The first of these positions.
    """
    batch, count = query.positions.index.shape
    if not query.tells or query.unembedding.transform is None or batch * count > _MOST:
        return None
    width = logits.shape[1]
    ids = torch.cat([each.ids.cpu().expand(batch, count, -1) for each in query.resolved], -1)[:, start : start + width]
    others = _others(ids, query.prompts.vocabulary)
    logs = query.unembedding.transform(logits).float().log_softmax(-1)
    both = torch.cat([ids, others], -1).to(logits.device)
    own = logs.gather(-1, both.clamp(min=0))
    ranks = (
        torch.stack([(logs > one.unsqueeze(-1)).sum(-1) + 1 for one in own.unbind(-1)], -1) if own.shape[-1] else both
    )
    best = logs.topk(min(FIRST, logs.shape[-1]))
    return ModelAnswers(ids, others, own.cpu(), ranks.cpu(), best.indices.cpu(), best.values.cpu())


def _others(ids: Int[Tensor, "batch some term"], vocabulary: Vocabulary) -> Int[Tensor, "batch some term"]:
    """The other spelling of each token."""
    every = ids.unique().tolist()
    if vocabulary.encode is None or len(every) > _SPELLINGS:
        return torch.full_like(ids, -1)
    known = {one: vocabulary.other_spelling(one) for one in every}
    return ids.new_tensor([known[one] for one in ids.flatten().tolist()]).reshape(ids.shape)
