"""Attention scores taken apart: a query and a key, each as a sum over what was written before, and their product.

One pass over a frozen run for either side: the columns of the head's matrix, pulled back to the stream, are as many
directions as a head is wide. What they read of a part is the part's share of the query; norms with their scales frozen
and the turn by position are linear, and are applied to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters.reads import HeadReads
from dla.adapters.score_reads import HeadSide, ScoreReads, of_heads, stepped
from dla.adapters.upstream import up_to
from dla.decomposers.base import Decomposer, plan_of
from dla.directions import ResolvedDirection
from dla.engine.frozen import FrozenRun
from dla.engine.query import Query
from dla.engine.traced import reads_of
from dla.engine.tracing import answered_by
from dla.errors import UnsupportedModelError
from dla.inputs.positions import Positions
from dla.labels import Label
from dla.tolerances import TOLERANCE
from dla.writes.sites import Site, take_rows


@final
@dataclass(frozen=True, eq=False)
class Summands:
    """A head's query, or its key, at one position of each prompt.

    Attributes:
        labels: Parts, then biases.
        vectors: What each adds to it.
        whole: All of it, made of what hooks show.
        size: How large the parts are that cancel in it.
        rounded: How large the numbers are that the model rounds on the way to it.
    """

    labels: tuple[Label, ...]
    vectors: Float[Tensor, "part batch d_head"]
    whole: Float[Tensor, "batch d_head"]
    size: Float[Tensor, "batch d_head"]
    rounded: Float[Tensor, "batch d_head"]


@final
@dataclass(frozen=True, eq=False)
class SplitScore:
    """A score as `scale * query · key + constant`.

    Attributes:
        query: The query.
        key: The key.
        scale: The scale.
        constant: What position alone adds.
        score: The score as the model's hook shows it, before any soft cap.
        tolerance: How far the model's own rounding may have moved it.
    """

    query: Summands
    key: Summands
    scale: float
    constant: Float[Tensor, " batch"]
    score: Float[Tensor, " batch"]
    tolerance: Float[Tensor, " batch"]


@final
class ScoreQuestion:
    """How the score of one head is taken apart; nothing runs until a run is passed."""

    def __init__(self, query: Query, label: Label, by: Decomposer) -> None:
        """Finds out what the head reads.

        Args:
            query: Gives the model and the prompts.
            label: The head.
            by: What its query and its key are split into.

        Raises:
            UnsupportedModelError: If it is not known what its scores are made of.
            ValueError: If it is no head of the model.
        """
        self.label, reads = label, _reads(query, label)
        self.reads, self.scores = reads, scores_of(reads, label)
        self._query, self._stream = query, reads.entry.stream.site
        self._model = up_to(query.model, self._stream.name)
        self._plan = plan_of(by, self._model)

    def names(self) -> set[str]:
        """The hooks that are read."""
        steps = self._plan.steps(self._query.prompts)
        sites = [self._stream, *self.reads.entry.reads, *self.scores.sites]
        return {site.name for site in (*sites, *(site for step in steps for site in step.write.reads))}

    def asked(self, words: str, positions: Positions, *directions: ResolvedDirection) -> Query:
        """What is asked of the stream at some positions.

        Args:
            words: What is asked, in words.
            positions: The positions.
            directions: The directions there.
        """
        prompts, cache = self._query.prompts, self._query.cache
        return Query(self._model, self._plan, prompts, positions, words, (), directions, cache)

    def measured(self, query: Positions, key: Positions, run: FrozenRun) -> Float[Tensor, " batch"]:
        """The scores between two positions of each prompt, as the hook shows them."""
        assert self.label.index is not None
        scores = run[self.scores.scores][:, self.label.index]
        rows = torch.arange(len(scores), device=scores.device)
        found: Tensor = scores[rows, query.index[:, 0].to(rows), key.index[:, 0].to(rows)]
        return found

    def split(self, query: Positions, key: Positions, run: FrozenRun, eps: float) -> SplitScore:
        """The score between two positions of each prompt.

        Args:
            query: The position that looks, one of each prompt.
            key: The position that it looks at.
            run: A run that shows what `names` says.
            eps: The rounding unit of what was computed in it.
        """
        reads, seen = self.scores, self.measured(query, key, run)
        head = self.label.index
        assert head is not None
        groups = run[reads.key.site].shape[2]
        looking = self._summands(reads.query, head, query, run, eps)
        looked_at = self._summands(reads.key, head * groups // run[reads.query.site].shape[2], key, run, eps)
        constant, score = self._constant(key, seen), reads.uncapped(seen)
        size, rounded = (
            abs(reads.scale) * (one * looked_at.whole.abs() + other * looking.whole.abs()).sum(-1)
            for one, other in ((looking.size, looked_at.size), (looking.rounded, looked_at.rounded))
        )
        steep = 1.0 if reads.cap is None else 1 / (1 - (seen / reads.cap) ** 2)
        rounded = rounded + constant.abs() + seen.abs() * steep
        tolerance = TOLERANCE * (eps * size + max(run.unit(eps), reads.unit) * rounded)
        return SplitScore(looking, looked_at, reads.scale, constant, score, tolerance)

    def _constant(self, key: Positions, like: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """What position alone adds."""
        if self.scores.slopes is None:
            return torch.zeros_like(like)
        last = torch.full_like(key.index[:, 0], self._query.prompts.tokens.shape[1] - 1)
        places = torch.stack([key.index[:, 0], last]).to(like)
        return self.scores.slopes[:, self.label.index].to(like) @ places

    def _summands(self, side: HeadSide, head: int, positions: Positions, run: FrozenRun, eps: float) -> Summands:
        """A query or a key at one position of each prompt.

        Args:
            side: Which of the two.
            head: The number of the head; of keys that of the group.
            positions: The position.
            run: The run.
            eps: The rounding unit of what was computed in it.
        """
        entry, dtype = self.reads.entry, run.select.dtype
        at = _at(run, [*side.sites, *entry.reads], positions.index)
        x: Tensor = at[side.site]
        d_head, heads = x.shape[-1], slice(head, head + 1)
        own = slice(head * d_head, (head + 1) * d_head)
        columns = side.affine.weight.detach()[:, own].T.to(run.home, dtype)
        stream = entry.pull_back(columns[:, None, None].expand(-1, len(x), 1, -1), at)
        directions = [ResolvedDirection.of_vector(each, self._stream.name) for each in stream]
        found = answered_by(self.asked(str(self.label), positions, *directions), run, eps)
        labels, vectors = [*found.labels], [found.values[..., 0].transpose(1, 2).to(dtype)]
        read = [("ln1_b", entry.constant(columns)), (f"b_{side.kind}", _bias(side, own))]
        for kind, bias in read:
            if bias is not None and bool(bias.any()):
                labels.append(Label(kind, self.label.layer))
                vectors.append(bias.to(vectors[0]).expand(1, len(x), -1))
        parts = torch.cat(vectors).unsqueeze(-2).unsqueeze(-2)
        errors = torch.diag_embed(found.magnitude[..., 0].T).transpose(0, 1).to(parts).unsqueeze(-2).unsqueeze(-2)
        for step in side.steps:
            parts, errors = (step.push(each, x, heads, at) for each in (parts, errors))
            if step.bias is not None and bool(step.bias.any()):
                labels.append(Label(f"{side.kind.lower()}_norm_b", self.label.layer))
                bias = of_heads(step.bias, heads).to(parts)
                parts = torch.cat([parts, bias.expand(1, *parts.shape[1:])])
            x = stepped(step, x, at)
        # Each entry of what the matrix makes is rounded by itself, in half precision where the model is.
        size, rounded = parts.abs().sum(0), errors.pow(2).sum(0).sqrt() + x[:, :, heads].abs()
        return Summands(tuple(labels), parts[:, :, 0, 0], x[:, 0, head], size[:, 0, 0], rounded[:, 0, 0])


def scores_of(reads: HeadReads, label: Label) -> ScoreReads:
    """What the scores of a head are made of.

    Raises:
        UnsupportedModelError: If that is not known.
    """
    if isinstance(reads.scores, str):
        raise UnsupportedModelError(f"The scores of {label} cannot be taken apart: {reads.scores}.")
    return reads.scores


def _reads(query: Query, label: Label) -> HeadReads:
    """What the sublayer of a head reads."""
    for block, of_block in zip(query.model.anatomy.blocks, reads_of(query.model), strict=False):
        for sublayer, reads in zip(block.sublayers, of_block, strict=False):
            if sublayer.heads is not None and label in sublayer.heads.labels:
                if isinstance(reads, HeadReads):
                    return reads
                raise UnsupportedModelError(f"The scores of {label} cannot be taken apart: {reads}.")
    raise ValueError(f"{label} is no attention head, and only heads look at positions. Ask for one, such as 'L0H0'.")


def _at(run: FrozenRun, sites: Iterable[Site], index: Int[Tensor, "batch query"]) -> dict[Site, Tensor]:
    """What some sites show at some positions."""
    shown = ((site, run[site]) for site in sites)
    # What is the same for all prompts, such as cosines, may be there once.
    return {site: take_rows(each.expand(len(index), *each.shape[1:]), index, 1) for site, each in shown}


def _bias(side: HeadSide, own: slice) -> Float[Tensor, " d_head"] | None:
    return None if side.affine.bias is None else side.affine.bias.detach()[own]
