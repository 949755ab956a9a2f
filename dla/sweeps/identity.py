"""What a model is and computes, so that no folder mixes the numbers of two.

Weights are not all: hooks, a norm's ε, an activation function or a tokenizer change what a model computes and leave its
weights as they are. So a sweep notes the numbers that the model computes for a few prompts, and every call that resumes
it, and every actor, must compute the same ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from dla.adapters.fingerprints import identity_of
from dla.adapters.user_hooks import hooks_of
from dla.directions import DirectionSet, LogitDifference, LogitSet
from dla.inputs.positions import read_positions
from dla.sweeps.batches import BatchSettings, RunFailure, attempt
from dla.sweeps.corpora import Corpus, CorpusRow
from dla.sweeps.question import SweepQuestion
from dla.sweeps.row_tokenizer import RowTokenizer
from dla.sweeps.static_plan import StaticPlan
from dla.sweeps.sweep_rows import SweepRow

_LENGTH, _TOKENS, _SUMS = 16, 32, 8
"""How long the fixed prompt is, how many tokens are asked about, and how many sums over the parts are noted.

The sums have random signs, so two parts that are swapped change most of them.
"""

_ROWS = 256
"""How many rows are looked at for the first prompt and the longest."""

_ALLOWED = {"float64": 1e-6, "float32": 3e-5, "float16": 1e-2, "bfloat16": 5e-2}
"""By how much of their size numbers may differ: other devices and numbers of threads round otherwise."""


def samples(plan: StaticPlan, corpus: Corpus, settings: BatchSettings) -> list[SweepRow]:
    """Rows by which a model is known: a fixed one, and of the first window the first and the longest.

    Args:
        plan: The model, and what is read of it.
        corpus: The rows of the sweep.
        settings: How to go over them.
    """
    vocabulary, context = plan.model.vocabulary, plan.model.context
    length = _LENGTH if context is None else min(_LENGTH, context)
    size = min(vocabulary.input_size, vocabulary.size)
    ids = (np.arange(length, dtype=np.int64) * 7919 + size // 3) % size
    fixed = _fixed(ids, plan.question)
    if not settings.rows(corpus.size):
        return [fixed]
    rows = corpus.rows(0, min(_ROWS, settings.window, settings.rows(corpus.size)))
    asked, _ = RowTokenizer(plan.model, settings.prepend_bos, plan.question).read(rows)
    chosen = [asked[0], max(asked, key=lambda row: len(row.ids))] if asked else []
    return [fixed, *{row.number: row for row in chosen}.values()]


def identity(plan: StaticPlan, rows: Sequence[SweepRow]) -> dict[str, Any]:
    """What a model is, and what it computes, as a manifest has it.

    Args:
        plan: The model, and what is read of it.
        rows: What `samples` gave.
    """
    return {
        **identity_of(plan.model),
        "hooks": list(hooks_of(plan.model)),
        "samples": [_told(row) for row in rows],
        "numbers": [_numbers(plan, row) for row in rows],
    }


def computes_otherwise(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """In which number, or else in which hook, two models differ; nothing where they compute the same up to rounding."""
    if old["samples"] != new["samples"]:
        yield "the tokens of the first prompts differ"
        return
    allowed = _ALLOWED.get(new["dtype"], max(_ALLOWED.values()))
    for (ids, *_), there, here in zip(new["samples"], old["numbers"], new["numbers"], strict=True):
        for a, b in zip(there or [], here or [], strict=bool(there and here)):
            reach = allowed * max(a["size"], b["size"])
            if np.abs(np.subtract(a["numbers"], b["numbers"])).max() > reach:
                yield (
                    f"the model computes other numbers ({a['numbers'][0]:.6g} there and {b['numbers'][0]:.6g} here "
                    f"for the token ids {_few(ids)}): hooks on it, or something else than its weights, differ"
                )
                return
    if old["hooks"] != new["hooks"]:  # some hooks act on few prompts only
        first = next(pair for pair in zip_longest(old["hooks"], new["hooks"], fillvalue="none") if len({*pair}) > 1)
        yield "the model's hooks differ ({} there and {} here)".format(*first)


def _numbers(plan: StaticPlan, row: SweepRow) -> list[dict[str, Any]] | None:
    """For each direction the model's logit, sums over the parts, and how large they are. None if not finite."""
    outcome = attempt(lambda rows: _sums(plan, rows[0]), [row])
    if isinstance(outcome, RunFailure):
        return None
    return outcome if all(np.isfinite([*each["numbers"], each["size"]]).all() for each in outcome) else None


def _sums(plan: StaticPlan, row: SweepRow) -> list[dict[str, Any]]:
    size, vocabulary = plan.model.vocabulary.size, plan.model.vocabulary
    drawn = np.random.RandomState(0)  # its numbers never change
    some = LogitSet([i * size // _TOKENS for i in range(_TOKENS)], drawn.choice([-1.0, 1.0], _TOKENS).tolist())
    asked, prompts, positions = plan.question.posed([row], vocabulary)
    if row.number < 0 and plan.at is None:  # the same of whatever is asked of the others: it tells models apart
        first, last = row.ids[[0, row.at]].tolist()
        asked, positions = LogitDifference(first, last), read_positions(row.at, prompts)
    both = DirectionSet({"asked": asked} if plan.at is not None else {"asked": asked, "drawn": some})
    run = plan.measure(both, prompts, positions)
    values = run.values[:, :, 0, 0].double().cpu().numpy()
    logits = torch.stack([run.logit, run.output_logit])[:, :, 0, 0].double().cpu().numpy()
    signs = drawn.choice([-1.0, 1.0], (_SUMS, len(values)))
    return [
        {
            "numbers": [*logits[:, i].tolist(), *(signs @ values[:, i]).tolist()],
            "size": float(np.linalg.norm(values[:, i]) + np.abs(logits[:, i]).max()),
        }
        for i in range(len(logits[0]))
    ]


def _fixed(ids: Int[np.ndarray, " token"], question: SweepQuestion) -> SweepRow:
    """A row of no corpus, whose spans are nowhere."""
    at = len(ids) - 1 - question.continues
    tokens = [int(ids[0]), int(ids[-1]), *map(int, ids)]
    asked = dict(zip(question.columns, tokens, strict=False))
    others = (int(ids[0]),) if question.continues else ()
    return SweepRow(CorpusRow(-1), ids, len(ids), at, asked, dict.fromkeys(question.spans, ()), others)


def _told(row: SweepRow) -> list[Any]:
    """The ids, and the first two of the tokens that are asked about."""
    first, second = [*row.asked.values(), None, None][:2]
    return [row.ids.tolist(), -1 if first is None else first, second]


def _few(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:6])) + (", ..." if len(ids) > 6 else "")
