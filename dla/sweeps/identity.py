"""What a model is and computes, so that no folder mixes the numbers of two.

Weights are not all: hooks, a norm's ε, an activation function or a tokenizer change what a model computes and leave its
weights as they are. So a sweep notes what it computes for a few prompts, as numbers, and every call that goes on with
its folder, and every actor, must come to the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dla.adapters.fingerprints import fingerprint, settings_of, tokenizer_fingerprint
from dla.directions import DirectionSet, LogitSet
from dla.sweeps.corpora import Corpus
from dla.sweeps.fitting import Failure, attempt
from dla.sweeps.fixed import FixedPlan
from dla.sweeps.measuring import direction_of, prompts_of
from dla.sweeps.questions import Asker, SweepRow
from dla.sweeps.settings import BatchSettings

_LENGTH, _TOKENS, _SUMS = 16, 32, 8
"""How long the fixed prompt is, how many tokens are asked about, and how many sums over the parts are noted."""

_ROWS = 256
"""How many rows are looked at for the first prompt and the longest."""

_ALLOWED = {"float64": 1e-6, "float32": 3e-5, "float16": 1e-2, "bfloat16": 5e-2}
"""By how much of their size numbers may differ: other devices and numbers of threads round otherwise."""


def samples(plan: FixedPlan, corpus: Corpus, settings: BatchSettings) -> list[SweepRow]:
    """The questions by which a model is known: one that is fixed, and of the first window the first and the longest."""
    vocabulary, context = plan.model.vocabulary, plan.model.context
    length = _LENGTH if context is None else min(_LENGTH, context)
    size = min(vocabulary.input_size, vocabulary.size)
    ids = (np.arange(length, dtype=np.int64) * 7919 + size // 3) % size
    fixed = SweepRow(-1, 0, ids, length, int(ids[0]), int(ids[-1]))
    if not settings.rows(corpus.size):
        return [fixed]
    window = corpus.window(0, min(_ROWS, settings.window, settings.rows(corpus.size)))
    asked, _ = Asker(vocabulary, context, settings.prepend_bos, corpus.compares).questions(window)
    chosen = [asked[0], max(asked, key=lambda question: len(question.ids))] if asked else []
    return [fixed, *{question.row: question for question in chosen}.values()]


def identity(plan: FixedPlan, questions: Sequence[SweepRow], hooks: Sequence[str] = ()) -> dict[str, Any]:
    """What a model is, and what it computes, as a manifest has it.

    Args:
        plan: The model, and what is read of it.
        questions: What `samples` gave.
        hooks: The user's hooks on the model, in words.
    """
    anatomy = plan.model.anatomy
    return {
        "name": anatomy.name,
        "dtype": str(anatomy.unembedding.W_U.dtype).removeprefix("torch."),
        "weights": fingerprint(plan.model),
        "settings": settings_of(plan.model),
        "tokenizer": tokenizer_fingerprint(plan.model),
        "hooks": list(hooks),
        "samples": [[question.ids.tolist(), question.answer, question.incorrect] for question in questions],
        "numbers": [_numbers(plan, question) for question in questions],
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What tells one model from another, in words; nothing where they are the same."""
    if any(old[key] != new[key] for key in ("weights", "dtype")):
        yield f"the model's weights differ ({_name(old)} there, {_name(new)} here)"
    for place in sorted({*old["settings"]} | {*new["settings"]}):
        there, here = (each["settings"].get(place, "nothing") for each in (old, new))
        if there != here:
            yield f"the model's {place} is {there} there and {here} here"
            break
    if old["hooks"] != new["hooks"]:
        there, here = (", ".join(each["hooks"]) or "none" for each in (old, new))
        yield f"the hooks on the model differ ({there} there, {here} here)"
    if old["tokenizer"] != new["tokenizer"]:
        yield "the model's tokenizer differs, or whether it puts a BOS token first"


def computes_otherwise(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """In which number two models differ on the same samples; nothing where they compute the same up to rounding."""
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
                    f"for the token ids {_few(ids)}): hooks on it, or something else beside its weights, differ"
                )
                return


def _numbers(plan: FixedPlan, question: SweepRow) -> list[dict[str, Any]] | None:
    """For each direction the model's logit, sums over the parts, and how large they are. None if not finite."""
    outcome = attempt(lambda questions: _sums(plan, questions[0]), [question])
    if isinstance(outcome, Failure) or not all(np.isfinite([*row["numbers"], row["size"]]).all() for row in outcome):
        return None
    return outcome


def _sums(plan: FixedPlan, question: SweepRow) -> list[dict[str, Any]]:
    size = plan.model.vocabulary.size
    drawn = np.random.RandomState(0)  # its numbers never change
    some = LogitSet([i * size // _TOKENS for i in range(_TOKENS)], drawn.choice([-1.0, 1.0], _TOKENS).tolist())
    both = DirectionSet({"asked": direction_of([question]), "drawn": some})
    run = plan.measure(both, prompts_of(plan, [question]))
    values = run.values[:, :, 0, 0].double().cpu().numpy()
    logits = torch.stack([run.logit, run.output_logit])[:, :, 0, 0].double().cpu().numpy()
    signs = drawn.choice([-1.0, 1.0], (_SUMS, len(values)))
    return [
        {
            "numbers": [*logits[:, i].tolist(), *(signs @ values[:, i]).tolist()],
            "size": float(np.linalg.norm(values[:, i]) + np.abs(logits[:, i]).max()),
        }
        for i in range(2)
    ]


def _name(model: Mapping[str, Any]) -> str:
    return f"{model['name']}, {model['dtype']}, {model['weights'][:8]}"


def _few(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:6])) + (", ..." if len(ids) > 6 else "")
