"""`check_direction`: does a direction ask what it says, for any batch and position?"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.decomposers import ComponentDecomposer
from dla.directions import Direction, ResolvedDirection
from dla.engine.query import answered
from dla.inputs.arguments import function, instance
from dla.inputs.given import ids_in, shown
from dla.inputs.positions import Position, read_positions
from dla.inputs.prompts import Prompts, read_prompts
from dla.results.attribution import Attribution
from dla.testing.laws.case import Case
from dla.testing.laws.compare import Deviation, deviation, sum_size
from dla.testing.laws.invariance import filled_up
from dla.testing.laws.memory import copied_or_none
from dla.testing.raised import guarded
from dla.testing.report import CheckResult, Report, first_of_each, timed
from dla.testing.resolved import problem_of_resolved, words_of_resolved
from dla.testing.subjects import TinyModel, subjects_given

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

    Raises:
        TypeError: If the direction is none, or an argument is of another kind.
        ValueError: If there is no model to try it on.

    Returns:
        A report that prints itself; `raise_for_failure()` makes a failing test of it.

    Examples:
        >>> import dla
        >>> from dla.testing import check_direction
        >>> check_direction(dla.LogitDifference(9, 7), lambda logits: logits[..., 9] - logits[..., 7]).ok
        True
    """
    instance(direction, Direction, "The direction", "an instance, such as dla.Logit(' Mary')")
    if means is not None:
        function(means, "means", "one from logits [batch, pos, d_vocab] to numbers [batch, pos]")
    subjects = subjects_given((TinyModel("gpt2"), TinyModel("llama-biases")) if models is None else models)
    # With tokens that stand there twice and three times.
    made_up = torch.tensor([[9, 20, 9, 31, 9, 12], [45, 7, 16, 28, 16, 45]])
    prompts = made_up if tokens is None else _prompts(tokens)
    found = (
        (f"On {subject}", step)
        for subject in subjects
        for step in timed(
            guarded("resolves", partial(_steps, Case(ComponentDecomposer(), subject, prompts), direction, means))
        )
    )
    return Report(f"check_direction: {type(direction).__name__}", first_of_each(found))


def _prompts(tokens: object) -> Int[Tensor, "batch pos"]:
    ids = ids_in(tokens)
    if ids is None or ids.ndim != 2 or not ids.numel():
        raise TypeError(f"tokens is {shown(tokens)}. Pass a tensor of ids [batch, pos].")
    return ids


def _steps(case: Case, direction: Direction, means: Meaning | None) -> Iterator[CheckResult]:
    yield from _resolves(case, direction)
    one = _asked(case, direction)
    for name, same, factor, said in (
        ("repeatable", direction, 1.0, "asked twice, it asks something else."),
        ("linearity", -direction, -1.0, "its negative should ask the negative."),
        ("linearity", direction + direction, 2.0, "added to itself it should ask twice as much."),
    ):
        got = _asked(case, same)
        size = (sum_size(got) + sum_size(one)) * max(1.0, abs(factor))
        missed = deviation(got.logit, factor * one.logit, size, case.eps)
        yield CheckResult(name, problem="" if missed is None else f"{said} {missed}")
    missing = bool((one.gap.abs() > one.tolerance).any())
    problem = f"The rows miss what the model answers by {float(one.gap.abs().max()):.1e}." if missing else ""
    yield CheckResult("reconstruction", "the rows sum to what the model answers", problem)
    yield _positions(case, direction, one)
    yield _batch(case, direction)
    if means is not None:
        wanted = means(case.subject.logits(case.tokens))[:, : one.logit.shape[1]]
        missed = deviation(one.output_logit, wanted, sum_size(one) + wanted.abs(), case.eps)
        problem = "" if missed is None else f"it should ask what it means, at {list(missed.where)}: {missed}."
        yield CheckResult("meaning", "asks what it means", problem)


def _resolves(case: Case, direction: Direction) -> Iterator[CheckResult]:
    """A resolved direction has the shapes that it may have, and ids that are tokens."""
    prompts = read_prompts(case.tokens.clone(), case.adapter.vocabulary)
    beside, (batch, width) = "", case.tokens.shape
    try:
        resolved = _resolved(case, direction, prompts, None)
    except ValueError as error:
        beside, width = f"; not at the last position: {error}", width - 1
        resolved = _resolved(case, direction, prompts, slice(None, -1))
    if not torch.equal(prompts.tokens, case.tokens):
        problem = "the prompts were changed while it was resolved: compute new ids."
        yield CheckResult("hands off", problem=problem)
        return
    yield CheckResult("hands off")
    wrong = problem_of_resolved(resolved, case.adapter.anatomy, (batch, width))
    yield CheckResult("resolves", words_of_resolved(resolved) + beside, wrong)
    words: object = direction.describe()
    again, copied = direction.describe(), copied_or_none(direction)
    told = ""
    if not isinstance(words, str) or not words.strip():
        told = f"`describe` gave {shown(words)}; expected the direction in words, for tables and files."
    elif words != again:
        told = f"Asked twice, `describe` says {shown(words)} and {shown(again)}; a file is found again by it."
    elif copied is not None and copied.describe() != words:
        told = f"A copy of it says {shown(copied.describe())}, it {shown(words)}; a file is found again by it."
    yield CheckResult("describes", shown(words), told)


def _resolved(case: Case, direction: Direction, prompts: Prompts, pos: Position) -> ResolvedDirection:
    positions = read_positions(pos, prompts)
    prompts = answered(case.adapter, prompts, positions) if direction.needs_answers else prompts
    return direction.resolve(prompts, positions)


def _asked(case: Case, direction: Direction) -> Attribution:
    """At every position; at all but the last if it cannot be asked there, as what follows a position cannot."""
    try:
        return case.attribute(direction)
    except ValueError:
        return case.attribute(direction, pos=slice(None, -1))


def _positions(case: Case, direction: Direction, one: Attribution) -> CheckResult:
    """Asked at one position, it asks what it asks there among all; passed over if it names a token for each."""
    for pos in (one.logit.shape[1] - 1, 0):
        try:
            alone = case.attribute(direction, pos=pos)
        except ValueError as error:
            return CheckResult("positions", f"names a token for each position: {error}")
        size = sum_size(alone) + sum_size(one)[:, pos]
        missed = _other_shape(alone.logit, one.logit[:, pos], size, case.eps)
        if missed is not None:
            return CheckResult("positions", problem=f"pos={pos} should ask what pos=None asks there: {missed}.")
    return CheckResult("positions", "one position asks what it asks among all")


def _batch(case: Case, direction: Direction) -> CheckResult:
    """A prompt asks what it asks alone, next to shorter ones and padding; passed over if it names one for each."""
    width = case.tokens.shape[1]
    rows = [case.tokens[0], *(case.tokens[-1][:n] for n in dict.fromkeys((max(1, width - 2), 1)))]
    # Padding of two values: what is asked may depend on neither, nor on how much of it there is.
    for order, filler in ((rows, 5), (rows[::-1], 5), (rows, 6)):
        padded, mask = filled_up(order, filler)
        try:
            together = case.attribute(direction, padded, pos=-1, attention_mask=mask)
            alone = [case.attribute(direction, row[None], pos=-1) for row in order]
        except ValueError as error:
            return CheckResult("batch", f"names a token for each prompt: {error}")
        for i, single in enumerate(alone):
            size = sum_size(single) + sum_size(together)[i : i + 1]
            missed = _other_shape(together.logit[i : i + 1], single.logit, size, case.eps)
            if missed is not None:
                lengths = [len(row) for row in order]
                problem = f"prompt {i} of {len(order)} (of {lengths} tokens) should ask what it asks alone: {missed}."
                return CheckResult("batch", problem=problem)
    return CheckResult("batch", "a prompt asks what it asks alone")


def _other_shape(
    got: Float[Tensor, "*shape"], expected: Float[Tensor, "*shape"], size: Float[Tensor, "*shape"], eps: float
) -> Deviation | None:
    """Where two logits differ that were computed in matrix products of different shapes, which round otherwise."""
    return deviation(got, expected, 8.0 * size, eps)
