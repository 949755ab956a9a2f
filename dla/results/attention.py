"""One head asked where it looks and why: its score between two positions, by one more run of the model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.score_reads import MASKED, HeadNorm
from dla.decomposers.base import Decomposer, as_decomposer
from dla.decomposers.head import HeadDecomposer
from dla.decomposers.rows import RowKind
from dla.decomposers.source import quoted_tokens
from dla.engine.forward import Unembed
from dla.engine.frozen import FrozenRun
from dla.engine.query import Query
from dla.engine.scores import ScoreQuestion, SplitScore
from dla.errors import ReconstructionError, UnsupportedModelError
from dla.inputs.given import shown, whole_number
from dla.inputs.positions import Positions, read_positions
from dla.labels import Label
from dla.provenance import Provenance
from dla.results.attention_score import AttentionScore
from dla.results.axes import provenance_of
from dla.results.rerun import Rerun

if TYPE_CHECKING:
    Pos = int
else:  # what is passed is looked at here, and a sentence says what is wrong with it
    Pos = object


@torch.no_grad()
def attention_score(rerun: Rerun, label: Label, query: Pos, key: Pos, by: Decomposer | None) -> AttentionScore:
    """The score of a head between two positions, by one more run of the model.

    Args:
        rerun: Where the head's row comes from.
        label: The head.
        query: The position that looks.
        key: The position that it looks at.
        by: What the query and the key are split into; None for heads, MLPs and embeddings.

    Raises:
        ReconstructionError: If the pairs do not add up to the score.
        RunChangedError: If the model does not run any more as it did.
        TypeError: If a position is no whole number, or `by` no decomposer.
        UnsupportedModelError: If it is not known what the scores are made of.
        ValueError: If it is no head, a prompt has no such position, the head does not look there, or the rows of the
            decomposer do not add up.
    """
    by = HeadDecomposer() if by is None else as_decomposer(by)
    if by.row_kind is not RowKind.ADDITIVE:
        raise ValueError(f"The rows of {type(by).__name__} do not add up, so no score is split into them.")
    places = _position(rerun.query, query, "query"), _position(rerun.query, key, "key")
    _check_order(*places)
    question = ScoreQuestion(rerun.query, label, by)
    run = FrozenRun(rerun.query, question.names())
    rerun.again(run.observers(), Unembed.SAMPLE)
    _check_looks(label, *places, question.measured(*places, run))
    split = question.split(*places, run, rerun.eps)
    if not bool(split.tolerance.isfinite().all()):
        raise UnsupportedModelError(
            f"The score of {label} has reached its soft cap of {question.scores.cap}; what it was before is not seen."
        )
    provenance = provenance_of(question.asked(_title(rerun.query, question, *places), places[0]), ("batch",))
    return _proven(split, places, provenance)


def _proven(split: SplitScore, places: tuple[Positions, Positions], provenance: Provenance) -> AttentionScore:
    """The result, checked.

    Raises:
        ReconstructionError: If the pairs do not add up to the score.
    """
    query, key = (each.index[:, 0] for each in places)
    scores = split.constant, split.score, split.tolerance
    queries = split.query.vectors * split.scale
    found = AttentionScore(
        split.query.labels, split.key.labels, queries, split.key.vectors, *scores, query, key, provenance
    )
    if bool((~(found.gap.abs() <= found.tolerance)).any()):
        gap, allowed = (float(each.abs().nan_to_num().max()) for each in (found.gap, found.tolerance))
        raise ReconstructionError(
            f"The pairs of {provenance.decomposer} miss the {provenance.direction} by up to {gap:.1e} (allowed: "
            f"{allowed:.1e}). What a hook edits between a part and the scores is in no pair."
        )
    return found


def _position(query: Query, given: object, name: str) -> Positions:
    """One position of each prompt.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If a prompt has no such position.
    """
    number = whole_number(given)
    if number is None:
        raise TypeError(f"{name}={shown(given)} is not a position. Pass a whole number; -1 is the last token.")
    least = min(query.prompts.lengths)
    if not -least <= number < least:
        raise ValueError(
            f"{name}={number}: the shortest prompt has {least} tokens. Pass a position from {-least} to {least - 1}."
        )
    return read_positions(number, query.prompts)


def _check_order(query: Positions, key: Positions) -> None:
    """Checks that no head is asked about what comes later."""
    for i, (at, to) in enumerate(zip(query.index[:, 0].tolist(), key.index[:, 0].tolist(), strict=True)):
        if to > at:
            raise ValueError(
                f"In prompt {i} the key at position {to} comes after the query at {at}, and a head of a causal model "
                "looks back, or at its own position. Pass a key that is not after the query."
            )


def _check_looks(label: Label, query: Positions, key: Positions, scores: Float[Tensor, " batch"]) -> None:
    """Checks that the head's mask lets it look there."""
    for i, (score, at, to) in enumerate(
        zip(scores.tolist(), query.index[:, 0].tolist(), key.index[:, 0].tolist(), strict=True)
    ):
        if not score > MASKED:
            raise ValueError(
                f"In prompt {i} {label} does not look from position {at} to {to}: the pair is masked, as outside of a "
                "local window. Pass a key nearer to the query."
            )


def _title(query: Query, question: ScoreQuestion, looking: Positions, looked_at: Positions) -> str:
    """What was asked, in words, with what is frozen."""
    texts = quoted_tokens(query.prompts)
    at, to = (_words(each, texts) for each in (looking, looked_at))
    cap = "" if question.scores.cap is None else f", before the soft cap of {question.scores.cap:g}"
    frozen = ["the norm"] if question.reads.entry.norm is not None else []
    if any(isinstance(step, HeadNorm) for step in question.scores.query.steps):
        frozen.append("norms of query and key")
    given = f" (scales frozen: {', '.join(frozen)})" if frozen else ""
    return f"attention score of {question.label} from {at} to {to}{cap}{given}"


def _words(positions: Positions, texts: Sequence[str]) -> str:
    there = sorted(set(positions.index[:, 0].tolist()))
    if len(there) > 1:
        return f"{there[0]}…{there[-1]}"
    return f"{there[0]} {texts[there[0]]}".strip()
