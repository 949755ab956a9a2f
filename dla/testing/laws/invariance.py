"""What changes nothing: how much is asked at a time, what else is in the batch, a cache, folded weights."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from dla.adapters import ModelAdapter
from dla.decomposers.rows import GROUP, RowKind
from dla.directions import Logit, LogitDifference
from dla.errors import UnsupportedModelError
from dla.labels import Label
from dla.results.attribution import Attribution
from dla.testing.laws.case import Case, Problem
from dla.testing.laws.compare import deviation, largest_size
from dla.testing.laws.reference_rows import ReferenceRows, reference_rows
from dla.testing.laws.rows import aligned, key_of, problem_of_rows
from dla.testing.subjects import TinyModel

_MORE_ROUNDING = 8.0
"""How much more rounding is allowed where a matrix product has another shape."""


def find_in_directions(case: Case) -> Problem | None:
    """Rows are linear in the direction, and several directions in one pass are as one by one."""
    a, b = Logit(case.ids(1)), LogitDifference(case.ids(2), case.ids(3))
    one, other, opposite = (case.attribute(direction) for direction in (a, b, -b))
    problem = problem_of_rows(opposite, other, case.eps, "asked for the opposite, every sign should flip", -1.0)
    if problem is not None:
        return problem
    combined = case.attribute(2.0 * a - 3.0 * b)
    problem = _combined(one, other, combined, case.eps)
    if problem is not None:
        return problem
    together = case.attribute({"a": a, "b": b})
    for name, alone in (("a", one), ("b", other)):
        said = "several directions in one pass should be as one by one"
        problem = problem_of_rows(together.direction(name), alone, case.eps, said)
        if problem is not None:
            return problem
    return None


def _combined(one: Attribution, other: Attribution, combined: Attribution, eps: float) -> Problem | None:
    size = 5 * largest_size(one, other, combined)
    for row in aligned(combined, one, other):
        got, a, b = row.values
        missed = deviation(got, 2.0 * a - 3.0 * b, size, eps)
        if missed is not None:
            return Problem(
                f"row {str(row.label)!r} should be linear in the direction, at {list(missed.where)}: {missed}.",
                "A contraction is a dot product with the direction: nothing may be squared, cut off or normalised.",
            )
    return None


def find_in_positions(case: Case) -> Problem | None:
    """One position asked is that row of all positions."""
    width = case.tokens.shape[1]
    ids = case.ids(5)
    everything = case.attribute(Logit(ids))
    for pos in dict.fromkeys((0, width - 1, width // 2)):
        some = case.attribute(Logit(ids[:, pos]), pos=pos)
        problem = problem_of_rows(
            some, _at(everything, pos), _MORE_ROUNDING * case.eps, f"pos={pos} should be that position of pos=None"
        )
        if problem is not None:
            return problem
    order = [width - 1, 0]
    several = case.attribute(Logit(ids[:, order]), pos=order)
    said = f"pos={order} should be those positions of pos=None"
    return problem_of_rows(several, _at(everything, order), _MORE_ROUNDING * case.eps, said)


def find_in_batch(case: Case) -> Problem | None:
    """A prompt in a batch, with longer and shorter ones beside it and padding after it, is as if alone."""
    width = case.tokens.shape[1]
    rows = [case.tokens[0], *(case.tokens[-1][:n] for n in dict.fromkeys((max(1, width - 2), 1)))]
    for order in (rows, rows[::-1]):
        tokens, mask = filled_up(order)
        together = case.attribute(LogitDifference(9, 7), tokens, attention_mask=mask)
        for i, prompt in enumerate(order):
            alone = case.attribute(LogitDifference(9, 7), prompt[None])
            said = f"prompt {i} of {len(order)} (of {[len(row) for row in order]} tokens) should be as if alone"
            problem = problem_of_rows(_of_prompt(together, i, len(prompt)), alone, _MORE_ROUNDING * case.eps, said)
            if problem is not None:
                return replace(problem, cause=_OTHERS)
    problem = _find_in_order(case)
    return problem and replace(problem, cause=_OTHERS)


_OTHERS = "What a row is must not depend on the other prompts, nor on the padding."


def _find_in_order(case: Case) -> Problem | None:
    """The same prompts in another order are as they were."""
    direction = Logit(case.ids(1))
    first = case.attribute(direction)
    turned = case.attribute(Logit(case.ids(1).flip(0)), case.tokens.flip(0))
    names = ("total", "constant", "logit", "output_logit", "tolerance", "positions")
    shared = {name: getattr(turned, name).flip(0) for name in names}
    back = replace(turned, values=turned.values.flip(1), **shared)
    said = "the same prompts in another order should be as they were"
    return problem_of_rows(back, first, _MORE_ROUNDING * case.eps, said)


def find_in_cache(case: Case) -> Problem | None:
    """A precomputed cache gives what a run gives."""
    if isinstance(case.model, ModelAdapter):
        return None
    with torch.no_grad():
        _, cache = case.model.run_with_cache(case.tokens)
    direction = LogitDifference(case.ids(7), case.ids(8))
    streamed = case.attribute(direction)
    try:
        cached = case.attribute(direction, cache=cache)
    except ValueError as error:
        if "The cache lacks" in str(error):
            return None
        raise
    return problem_of_rows(cached, streamed, case.eps, "from an ActivationCache the rows should be those of a run")


def find_in_folding(case: Case) -> Problem | None:
    """Folding norms and centring weights leaves the rows of logit differences as they are."""
    folded = case.subject.folded() if isinstance(case.subject, TinyModel) else None
    if folded is None:
        return None
    direction = LogitDifference(case.ids(1), case.ids(2))
    before = case.attribute(direction)
    try:
        after = case.attribute(direction, model=folded.adapter())
    except UnsupportedModelError:
        return None
    size, known = 4 * largest_size(before, after), reference_rows(case, case.ids(1))
    said = "in compatibility mode (or with processed weights) it should be the same"
    for row in aligned(_rolled(after, known), _rolled(before, known)):
        got, expected = row.values
        missed = (
            deviation(got, expected, size, _MORE_ROUNDING * max(case.eps, 1e-7)) if _lasting(row.label, known) else None
        )
        if missed is not None:
            return Problem(f"row {str(row.label)!r} at {list(missed.where)}: {said}: {missed}.")
    return None


_ABOUT_WEIGHTS = ("source", "b_V", "heads", "expert", "shared_experts")
"""Kinds whose rows say which weight it was, so that folding one weight into another moves them."""


def _rolled(result: Attribution, known: ReferenceRows) -> Attribution:
    """The rows with known names, others added up to the part with a known name that they are pieces of.

    Where there are groups, some of the pieces may be in one of them, and nothing is added up.
    """
    if result.provenance.row_kind != RowKind.ADDITIVE.value or any(label.kind == GROUP for label in result.parts):
        return result
    return result.group_by(lambda label: next((part for part in label.path() if _lasting(part, known)), label))


def _lasting(label: Label, known: ReferenceRows) -> bool:
    return key_of(label) in known and label.kind not in _ABOUT_WEIGHTS


def _at(result: Attribution, pos: Any) -> Attribution:
    """Some positions of an attribution of all."""
    return _taken(result, (..., pos))


def _of_prompt(result: Attribution, i: int, width: int) -> Attribution:
    return _taken(result, (..., slice(i, i + 1), slice(0, width)))


def _taken(result: Attribution, index: Any) -> Attribution:
    names = ("values", "total", "constant", "logit", "output_logit", "tolerance")
    taken = {name: getattr(result, name)[index] for name in names}
    return Attribution(parts=result.parts, positions=result.positions[index], provenance=result.provenance, **taken)


def filled_up(
    rows: list[Int[Tensor, " _"]], filler: int = 5
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]:
    """Prompts of unequal lengths filled up on the right, and which of their tokens are real."""
    width = max(len(row) for row in rows)
    tokens = torch.stack([torch.cat([row, row.new_full((width - len(row),), filler)]) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return tokens, mask
