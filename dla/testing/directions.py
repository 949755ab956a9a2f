"""`check_direction`: does a direction ask what it says, for any batch and position?"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters import ModelAdapter
from dla.attributor import Attributor
from dla.decomposers import ComponentDecomposer
from dla.directions import Direction, ResolvedDirection
from dla.engine.query import answered
from dla.inputs.prompts import Position, Prompts, read_positions, read_prompts
from dla.results.attribution import Attribution
from dla.testing.laws.compare import miss, size_of
from dla.testing.laws.invariance import filled_up
from dla.testing.report import CheckResult, Report
from dla.testing.subjects import Subject, TinyModel, as_subject

Meaning = Callable[[Float[Tensor, "batch pos d_vocab"]], Float[Tensor, "batch pos"]]
"""What a direction asks for, worked out from a model's logits."""


def check_direction(
    direction: Direction,
    means: Meaning | None = None,
    *,
    models: Sequence[Any] | None = None,
    tokens: Int[Tensor, "batch pos"] | None = None,
) -> Report:
    """Tries what a direction must keep: it resolves the same each time and linearly, and asks what it means.

    A direction that asks something else still adds up: it answers another question. Only `means` can show that.

    Args:
        direction: What is checked.
        means: What it asks for, from the logits that a model returns, such as
            `lambda logits: logits[..., 9] - logits[..., 7]`; None to leave that out.
        models: Models, adapters or names of the catalogue to try it on; a LayerNorm and an RMSNorm model if None.
        tokens: Prompts to ask about; some that are made up if None. A direction with a token for each prompt needs
            as many prompts.

    Returns:
        A report that prints itself; `raise_for_failure()` makes a failing test of it.

    Example:
        >>> import dla
        >>> from dla.testing import check_direction
        >>> check_direction(dla.LogitDifference(9, 7), lambda logits: logits[..., 9] - logits[..., 7]).ok
        True
    """
    subjects = (
        [as_subject(model) for model in models]
        if models is not None
        else [TinyModel("gpt2"), TinyModel("llama-biases")]
    )
    prompts = torch.tensor([[9, 20, 31, 12], [45, 7, 16, 28]]) if tokens is None else tokens
    steps: dict[str, CheckResult] = {}
    for subject in subjects:
        for step in _guarded(subject, direction, means, prompts):
            if step.name not in steps or steps[step.name].ok:
                steps[step.name] = step if step.ok else replace(step, problem=f"On {subject}: {step.problem}")
    return Report(f"check_direction: {direction.describe()}", tuple(steps.values()))


def _guarded(subject: Subject, direction: Direction, means: Meaning | None, tokens: Tensor) -> Iterator[CheckResult]:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from _steps(subject, direction, means, tokens)
    except Exception as error:  # a direction under check may raise anything, and the report is about just that
        yield CheckResult("resolves", False, "", f"It raises {type(error).__name__}: {error}")


def _steps(subject: Subject, direction: Direction, means: Meaning | None, tokens: Tensor) -> Iterator[CheckResult]:
    adapter = subject.adapter()
    yield from _resolves(adapter, direction, tokens)
    one = _asked(adapter, direction, tokens)
    yield _same("repeatable", _asked(adapter, direction, tokens), one, adapter, "asked twice, it asks something else.")
    opposite = _asked(adapter, -direction, tokens)
    yield _same("linearity", opposite, one, adapter, "its negative should ask the negative.", -1.0)
    twice = _asked(adapter, direction + direction, tokens)
    yield _same("linearity", twice, one, adapter, "added to itself it should ask twice as much.", 2.0)
    missed = bool((one.gap.abs() > one.tolerance).any())
    problem = f"The rows miss what the model answers by {float(one.gap.abs().max()):.1e}." if missed else ""
    yield CheckResult("reconstruction", not missed, "the rows come to what the model answers", problem)
    yield _positions(adapter, direction, tokens, one)
    yield _batch(adapter, direction, tokens)
    if means is not None:
        yield _means(subject, one, means, tokens)


def _resolves(adapter: ModelAdapter, direction: Direction, tokens: Tensor) -> Iterator[CheckResult]:
    """A resolved direction has the shapes that it may have, and ids that are tokens."""
    prompts = read_prompts(tokens.clone(), adapter.vocabulary)
    try:
        resolved = _resolved(adapter, direction, prompts, None)
    except ValueError:
        resolved = _resolved(adapter, direction, prompts, slice(None, -1))
    if not torch.equal(prompts.tokens, tokens):
        yield CheckResult("hands off", False, "", "the prompts were changed while it was resolved: compute new ids.")
        return
    yield CheckResult("hands off", True)
    ids, size = resolved.ids, adapter.vocabulary.size
    wrong = ""
    if ids.ndim != 3 or ids.shape[-1] != len(resolved.weights):
        shapes = f"ids have shape {list(ids.shape)} and weights {list(resolved.weights.shape)}"
        wrong = f"{shapes}; expected [batch pos term] and [term]."
    elif ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= size):
        wrong = f"it asks for token {int(ids.max())}; ids run from 0 to {size - 1}."
    yield CheckResult("resolves", not wrong, f"{ids.shape[-1]} terms", wrong)


def _resolved(adapter: ModelAdapter, direction: Direction, prompts: Prompts, pos: Position) -> ResolvedDirection:
    positions = read_positions(pos, prompts)
    prompts = answered(adapter, prompts, positions) if direction.needs_answers else prompts
    return direction.resolve(prompts, positions)


def _asked(adapter: ModelAdapter, direction: Direction, tokens: Tensor) -> Attribution:
    """At every position; at all but the last if it cannot be asked there, as what follows a position cannot."""
    attributor = Attributor(adapter, ComponentDecomposer(), check="warn")
    try:
        return attributor.attribute(tokens, direction, pos=None)
    except ValueError:
        return attributor.attribute(tokens, direction, pos=slice(None, -1))


def _same(
    name: str, got: Attribution, one: Attribution, adapter: ModelAdapter, said: str, factor: float = 1.0
) -> CheckResult:
    size = (size_of(got) + size_of(one)) * max(1.0, abs(factor))
    missed = miss(got.logit, factor * one.logit, size, adapter.anatomy.eps)
    return CheckResult(name, missed is None, "", "" if missed is None else f"{said} {missed}")


def _positions(adapter: ModelAdapter, direction: Direction, tokens: Tensor, one: Attribution) -> CheckResult:
    """Asked at one position, it asks what it asks there among all; passed over if it names a token for each."""
    attributor = Attributor(adapter, ComponentDecomposer(), check="warn")
    for pos in (one.logit.shape[1] - 1, 0):
        try:
            alone = attributor.attribute(tokens, direction, pos=pos)
        except ValueError:
            return CheckResult("positions", True, "names a token for each position")
        missed = miss(alone.logit, one.logit[:, pos], _ROUNDS * (size_of(alone) + size_of(one)[:, pos]), _eps(adapter))
        if missed is not None:
            return CheckResult("positions", False, "", f"pos={pos} should ask what pos=None asks there: {missed}.")
    return CheckResult("positions", True, "one position asks what it asks among all")


def _batch(adapter: ModelAdapter, direction: Direction, tokens: Tensor) -> CheckResult:
    """A prompt asks what it asks alone, beside shorter ones and padding; passed over if it names one for each."""
    rows = [tokens[0], *(tokens[-1][:n] for n in dict.fromkeys((max(1, tokens.shape[1] - 2), 1)))]
    attributor = Attributor(adapter, ComponentDecomposer(), check="warn")
    for order in (rows, rows[::-1]):
        padded, mask = filled_up(order)
        try:
            together = attributor.attribute(padded, direction, attention_mask=mask)
            alone = [attributor.attribute(row[None], direction) for row in order]
        except ValueError:
            return CheckResult("batch", True, "names a token for each prompt")
        for i, single in enumerate(alone):
            size = _ROUNDS * (size_of(single) + size_of(together)[i : i + 1])
            missed = miss(together.logit[i : i + 1], single.logit, size, _eps(adapter))
            if missed is not None:
                lengths = [len(row) for row in order]
                problem = f"prompt {i} of {len(order)} (of {lengths} tokens) should ask what it asks alone: {missed}."
                return CheckResult("batch", False, "", problem)
    return CheckResult("batch", True, "a prompt asks what it asks alone")


_ROUNDS = 8.0
"""How much more rounding is allowed where a matrix product has another shape."""


def _eps(adapter: ModelAdapter) -> float:
    return adapter.anatomy.eps


def _means(subject: Subject, one: Attribution, means: Meaning, tokens: Tensor) -> CheckResult:
    wanted = means(subject.logits(tokens))[:, : one.logit.shape[1]]
    missed = miss(one.output_logit, wanted, size_of(one) + wanted.abs(), subject.adapter().anatomy.eps)
    problem = "" if missed is None else f"it should ask what it means, at {list(missed.where)}: {missed}."
    return CheckResult("meaning", not problem, "asks what it means", problem)
