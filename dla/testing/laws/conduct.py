"""How a decomposer behaves: twice the same, hands off the model, sums in enough bits."""

import torch
from torch import Tensor

from dla.adapters import ModelAdapter
from dla.attribution import Attribution
from dla.decomposers.base import Law
from dla.directions import Logit
from dla.prompts import read_prompts
from dla.testing.altered import Altered
from dla.testing.laws.case import Case, Check, Problem, drawn_ids
from dla.testing.laws.compare import miss, size_of
from dla.testing.laws.known import known_rows
from dla.testing.laws.planning import plan_of, seen
from dla.testing.laws.rows import key_of

_SINGLE = torch.finfo(torch.float32).eps


def find_in_repeats(case: Case) -> Problem | None:
    """The same call twice gives the same bits, whatever was asked in between."""
    direction, others = Logit(case.ids(1)), _others(case)
    first, second = case.attribute(direction), case.attribute(direction)
    problem = _same_bits(second, first, "the same call twice should give the same bits")
    if problem is not None:
        return problem
    case.attribute(Logit(3), others)
    again = case.attribute(direction)
    said = "other prompts in between should change nothing"
    return _same_bits(
        again, first, said, "Something of an earlier run is kept: a plan holds weights, never activations."
    )


def _others(case: Case) -> Tensor:
    """Other prompts of the same length."""
    return drawn_ids(77, case.subject.adapter().vocabulary.input_size - 4, *case.tokens.shape) + 4


def _same_bits(got: Attribution, expected: Attribution, said: str, cause: str = "") -> Problem | None:
    if got.labels != expected.labels:
        return Problem(f"{said}: got other labels, {got.labels[:4]} and {expected.labels[:4]}.", cause)
    for label, left, right in zip(got.labels, got.values, expected.values, strict=True):
        if not torch.equal(left, right):
            error = float((left - right).abs().max())
            return Problem(f"{said}: row {label!r} is off by up to {error:.1e}, expected 0.", cause)
    return None


def find_hands_on(case: Case) -> Problem | None:
    """Nothing of the model is changed: not its weights, not an activation, not a cache."""
    plain = case.subject.adapter().run(case.tokens, {}, None)
    shown: list[tuple[str, Tensor, Tensor]] = []

    def show(name: str, activation: Tensor) -> Tensor:
        shown.append((name, activation, activation.detach().clone()))
        return activation

    result = case.attribute(Logit(case.ids(1)), model=Altered(case.model, show=show))
    for name, activation, before in shown:
        if not _equal(activation, before):
            return Problem(f"the activation at {name!r} was changed while it was attributed.", _COPY)
    told = plain.gather(-1, case.ids(1)[..., None].to(plain.device)).squeeze(-1)
    missed = miss(result.output_logit, told, size_of(result) + told.abs(), case.eps)
    if missed is not None:
        return Problem(
            f"the model gives other logits while it is attributed, at {list(missed.where)}: {missed}.", _COPY
        )
    if not torch.equal(case.subject.adapter().run(case.tokens, {}, None), plain):
        return Problem("the model gives other logits after it was attributed than before.", _COPY)
    return _find_in_cache(case)


_COPY = "Something is changed in place. Compute a new tensor: `x + y`, not `x += y`."


def _find_in_cache(case: Case) -> Problem | None:
    if isinstance(case.model, ModelAdapter):
        return None
    with torch.no_grad():
        _, cache = case.model.run_with_cache(case.tokens)
    before = {name: cache[name].detach().clone() for name in cache if isinstance(cache[name], Tensor)}
    try:
        case.attribute(Logit(case.ids(1)), cache=cache)
    except ValueError as error:
        if "The cache lacks" not in str(error):
            raise
    for name, activation in before.items():
        if not _equal(cache[name], activation):
            return Problem(f"the cache's {name!r} was changed while it was attributed.", _COPY)
    return None


def _equal(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and bool(((left == right) | ((left != left) & (right != right))).all())


def find_in_bits(case: Case) -> Problem | None:
    """Sums are as exact as float32, or as the model if that is wider, whatever the model's dtype."""
    direction = Logit(case.ids(1))
    result = case.attribute(direction)
    dtype = case.subject.adapter().anatomy.unembedding.W_U.dtype
    least = torch.promote_types(dtype, torch.float32)
    problem = _find_in_dtypes(case, least)
    if problem is not None:
        return problem
    if dtype == torch.float64:
        told = case.subject.logits(case.tokens).gather(-1, case.ids(1)[..., None]).squeeze(-1)
        missed = miss(result.total + result.constant, told, size_of(result), case.eps)
        said = "the rows of a float64 model should come to its own logit in float64"
        return None if missed is None else Problem(f"{said}, at {list(missed.where)}: {missed}.", _BITS)
    known = known_rows(case, case.ids(1)) if case.law is not Law.LENS else {}
    for label, row in zip(result.parts, result.values, strict=True):
        wanted = known.get(key_of(label))
        missed = None if wanted is None else miss(row, wanted, size_of(result), _SINGLE)
        if missed is not None:
            said = f"row {str(label)!r} of a {str(dtype).removeprefix('torch.')} model should be summed in float32"
            return Problem(f"{said}, at {list(missed.where)}: {missed}.", _BITS)
    return None


_BITS = "The numbers are added in too few bits. Activations arrive in float32 or wider: leave them so."


def _find_in_dtypes(case: Case, least: torch.dtype) -> Problem | None:
    """Each write returns numbers as wide as what it was given."""
    adapter = case.subject.adapter()
    plan, width = plan_of(case), adapter.anatomy.unembedding.W_U.shape[0]
    activations, direction = seen(case, plan, least), torch.ones(1, 1, 1, width, dtype=least)
    for step in plan.steps(read_prompts(case.tokens, adapter.vocabulary)):
        got = step.write.contract(activations, direction).dtype
        if torch.promote_types(got, torch.float32) != got:
            name = str(step.write.labels[0])
            return Problem(f"`contract` of {name!r} returns {got}; expected {least}, as it was given.", _BITS)
    return None


REPEATABLE = Check("repeatable", "The same call gives the same bits, whatever was asked in between.", find_in_repeats)
HANDS_OFF = Check("hands off", "Weights, activations and caches are left as they are.", find_hands_on)
PRECISION = Check("precision", "Sums are in float32 or wider, whatever the model's dtype.", find_in_bits)
