"""How a decomposer behaves: twice the same, hands off the model, sums in enough bits."""

from dataclasses import replace

import torch
from torch import Tensor

from dla.adapters import ModelAdapter
from dla.adapters.anatomy import Anatomy
from dla.decomposers.plans import RowKind
from dla.directions import Logit
from dla.labels import ROUNDING
from dla.results.attribution import Attribution
from dla.testing.altered import Altered, without_rounding
from dla.testing.laws.case import Case, Check, Problem, attributed, drawn_ids
from dla.testing.laws.compare import miss, size_of
from dla.testing.laws.planning import copies, direction_of, precision_of, seen, steps_of
from dla.testing.laws.rows import same_rows
from dla.testing.laws.sums import nudged, read_by, streams, written
from dla.testing.subjects import TinyModel, weights_of

_SINGLE = torch.finfo(torch.float32).eps


def find_in_repeats(case: Case) -> Problem | None:
    """The same call twice gives the same bits, whatever was asked in between."""
    direction, others = Logit(case.ids(1)), _others(case)
    first, second = case.attribute(direction), case.attribute(direction)
    problem = _same_bits(second, first, "the same call twice should give the same bits")
    if problem is not None:
        return problem
    turned = case.attribute(Logit(case.ids(1).flip(0)), case.tokens.flip(0))
    said = "the same prompts in another order should be as they were"
    problem = same_rows(_turned(turned), first, _ROUNDS * case.eps, said)
    if problem is not None:
        return replace(problem, cause=_KEPT)
    case.attribute(Logit(3), others)
    again = case.attribute(direction)
    said = "other prompts in between should change nothing"
    return _same_bits(again, first, said, _KEPT)


_KEPT = "Something of an earlier run is kept: a plan holds weights, never activations."
_ROUNDS = 8.0
"""How much more rounding is allowed where a matrix product has its rows in another order."""


def _turned(result: Attribution) -> Attribution:
    """The prompts in the opposite order."""
    names = ("total", "constant", "logit", "output_logit", "tolerance", "positions")
    shared = {name: getattr(result, name).flip(0) for name in names}
    return replace(result, values=result.values.flip(1), **shared)


def _others(case: Case) -> Tensor:
    """Other prompts of the same length."""
    return drawn_ids(77, case.adapter.vocabulary.input_size - 4, *case.tokens.shape) + 4


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
    problem = _find_in_parameters(case)
    if problem is not None:
        return problem
    plain = case.adapter.run(case.tokens, {}, None)
    shown: list[tuple[str, Tensor, Tensor]] = []

    def show(name: str, activation: Tensor) -> Tensor:
        shown.append((name, activation, activation.detach().clone()))
        return activation

    result = case.attribute(Logit(case.ids(1)), model=Altered(case.adapter, show=show))
    for name, activation, before in shown:
        if not _equal(activation, before):
            return Problem(f"the activation at {name!r} was changed while it was attributed.", _COPY)
    told = plain.gather(-1, case.ids(1)[..., None].to(plain.device)).squeeze(-1)
    missed = miss(result.output_logit, told, size_of(result) + told.abs(), case.eps)
    if missed is not None:
        return Problem(
            f"the model gives other logits while it is attributed, at {list(missed.where)}: {missed}.", _COPY
        )
    if not torch.equal(case.adapter.run(case.tokens, {}, None), plain):
        return Problem("the model gives other logits after it was attributed than before.", _COPY)
    return _find_in_shown(case) or _find_in_cache(case)


_COPY = "Something is changed in place. Compute a new tensor: `x + y`, not `x += y`."


def _find_in_shown(case: Case) -> Problem | None:
    """A write leaves the direction as it was shown, and the activations that others read as well."""
    steps, dtype = steps_of(case), precision_of(case)
    activations, direction = seen(case, steps, dtype), direction_of(case, dtype)
    for step in steps:
        shown, asked = copies(activations), direction.clone()
        step.write.contract(shown, asked)
        step.write.vectors(shown)
        name = str(step.write.labels[0])
        if not torch.equal(asked, direction):
            return Problem(f"the direction was changed while {name!r} was contracted with it.", _COPY)
        for site, before in activations.items():
            if site not in shown or not _equal(shown[site], before):
                return Problem(f"what {site.name!r} shows was changed while {name!r} was read from it.", _COPY)
    return None


def _find_in_parameters(case: Case) -> Problem | None:
    """A model that nothing else uses keeps its weights while it is planned for and attributed."""
    model = case.subject.fresh() if isinstance(case.subject, TinyModel) else case.model
    before = weights_of(model)
    attributed(case.decomposer, model, Logit(0), case.tokens)
    now = weights_of(model)
    changed = next((name for name, weight in before.items() if not _equal(now[name], weight)), None)
    return None if changed is None else Problem(f"the weight {changed!r} was changed while it was attributed.", _COPY)


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
    try:
        problem = _find_in_dtypes(case) or _find_in_weights(case)
    except NotImplementedError:  # PyTorch knows not every operation in half precision
        return None
    except RuntimeError as error:
        if "type" not in str(error):
            raise
        cause = "Weights have the model's dtype, activations arrive in float32 or wider: cast, `weight.to(activation)`."
        return Problem(f"it raises RuntimeError: {error}", cause)
    if problem is not None:
        return problem
    try:
        return _find_in_double(case)
    except RuntimeError as error:  # a site may be read with weights in the model's own dtype, which is right
        if "type" not in str(error):
            raise
        return None


_BITS = "The numbers are added in too few bits. Activations arrive in float32 or wider: leave them so."


def _find_in_dtypes(case: Case) -> Problem | None:
    """Each write returns numbers as wide as float32."""
    steps, least = steps_of(case), precision_of(case)
    activations = seen(case, steps, least)
    direction = torch.ones(1, 1, 1, case.adapter.anatomy.unembedding.W_U.shape[0], dtype=least)
    for step in steps:
        got = step.write.contract(activations, direction).dtype
        if torch.promote_types(got, torch.float32) != got:
            name = str(step.write.labels[0])
            return Problem(f"`contract` of {name!r} returns {got}; expected {least}, as it was given.", _BITS)
    return None


def _find_in_weights(case: Case) -> Problem | None:
    """With its weights in float32 a model of half the bits has the same rows, but for what it rounds away."""
    wide = case.subject.widened() if isinstance(case.subject, TinyModel) else None
    if wide is None:
        return None
    result, exact = (case.attribute(Logit(case.ids(1)), model=model) for model in (None, wide))
    said = "the rows of a model in half precision should be those of its weights in float32"
    own = result.select(where=lambda label: label.kind != ROUNDING)
    problem = same_rows(own, exact, _SINGLE, said)
    return problem and replace(problem, cause=_BITS)


def _find_in_double(case: Case) -> Problem | None:
    """What is read, in float64, moves the total in proportion; what is rounded on the way does not.

    Whatever else is wrong with a total, such as a forgotten bias, stays the same.
    """
    if case.law is RowKind.LENS:
        return None
    direction, read = Logit(case.ids(1)), read_by(case)
    plain, more = (case.attribute(asked, model=_in_double(case, "", 0.0)) for asked in (direction, 3.0 * direction))
    missed = miss(more.total, 3.0 * plain.total, size_of(more), torch.finfo(torch.float64).eps)
    if missed is not None:
        said = "in float64, a direction three times as long should read three times as much"
        return Problem(f"{said}, at {list(missed.where)}: {missed}.", _BITS)
    for name in [name for name in (*written(case), *streams(case)) if name in read]:
        one, two = (case.attribute(direction, model=_in_double(case, name, step)) for step in (0.1, 0.2))
        size = size_of(plain) + size_of(one) + size_of(two)
        missed = miss(two.total - one.total, one.total - plain.total, size, torch.finfo(torch.float64).eps)
        if missed is not None:
            said = f"{name!r} in float64, changed twice as much, should move the sum twice as much"
            return Problem(f"{said}, at {list(missed.where)}: {missed}.", _BITS)
    return None


def _in_double(case: Case, name: str, step: float) -> Altered:
    """The model with everything that is read of it in float64, and one activation changed."""

    def widen(anatomy: Anatomy) -> Anatomy:
        anatomy = without_rounding(anatomy)  # what is more than rounding counts as nothing there, which is not linear
        return replace(anatomy, unembedding=replace(anatomy.unembedding, W_U=anatomy.unembedding.W_U.double()))

    def show(hook: str, activation: Tensor) -> Tensor:
        return change(hook, activation.double() if activation.is_floating_point() else activation)

    change = nudged(name, step)
    return Altered(case.adapter, widen, show)


REPEATABLE = Check("repeatable", "The same call gives the same bits, whatever was asked in between.", find_in_repeats)
HANDS_OFF = Check("hands off", "Weights, activations and caches are left as they are.", find_hands_on)
PRECISION = Check("precision", "Sums are in float32 or wider, whatever the model's dtype.", find_in_bits)
