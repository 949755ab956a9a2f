"""How a decomposer behaves: the same each time, without changing the model, with sums in enough bits."""

from dataclasses import replace

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from dla.adapters import ModelAdapter
from dla.adapters.anatomy import Anatomy
from dla.decomposers.plans import RowKind
from dla.directions import Logit
from dla.labels import ROUNDING
from dla.results.attribution import Attribution
from dla.testing.altered_adapter import AlteredAdapter, without_rounding
from dla.testing.laws.case import Case, Problem, random_ids
from dla.testing.laws.compare import deviation, sum_size
from dla.testing.laws.planning import copied, observed_activations, precision_of, random_directions, steps_of
from dla.testing.laws.reconstruction import nudged, read_by, streams, written
from dla.testing.laws.rows import problem_of_rows
from dla.testing.subjects import TinyModel, copied_weights

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
    problem = problem_of_rows(_turned(turned), first, _MORE_ROUNDING * case.eps, said)
    if problem is not None:
        return replace(problem, cause=_CARRIED_OVER)
    case.attribute(Logit(3), others)
    again = case.attribute(direction)
    said = "other prompts in between should change nothing"
    return _same_bits(again, first, said, _CARRIED_OVER)


_CARRIED_OVER = "Something of an earlier run is kept: a plan holds weights, never activations."
_MORE_ROUNDING = 8.0
"""How much more rounding is allowed where a matrix product has its rows in another order."""


def _turned(result: Attribution) -> Attribution:
    """The prompts in the opposite order."""
    names = ("total", "constant", "logit", "output_logit", "tolerance", "positions")
    shared = {name: getattr(result, name).flip(0) for name in names}
    return replace(result, values=result.values.flip(1), **shared)


def _others(case: Case) -> Int[Tensor, "batch pos"]:
    """Other prompts of the same length."""
    return random_ids(77, case.adapter.vocabulary.input_size - 4, *case.tokens.shape) + 4


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

    def show(name: str, activation: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        shown.append((name, activation, activation.detach().clone()))
        return activation

    result = case.attribute(Logit(case.ids(1)), model=AlteredAdapter(case.adapter, show=show))
    for name, activation, before in shown:
        if not _equal(activation, before):
            return Problem(f"the activation at {name!r} was changed while it was attributed.", _COPY)
    told = plain.gather(-1, case.ids(1)[..., None].to(plain.device)).squeeze(-1)
    missed = deviation(result.output_logit, told, sum_size(result) + told.abs(), case.eps)
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
    activations, direction = observed_activations(case, steps, dtype), random_directions(case, dtype)
    for step in steps:
        shown, asked = copied(activations), direction.clone()
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
    before = copied_weights(model)
    case.attribute(Logit(0), model=model)
    now = copied_weights(model)
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


def _equal(left: Shaped[Tensor, "..."], right: Shaped[Tensor, "..."]) -> bool:
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
    activations = observed_activations(case, steps, least)
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
    problem = problem_of_rows(own, exact, _SINGLE, said)
    return problem and replace(problem, cause=_BITS)


def _find_in_double(case: Case) -> Problem | None:
    """What is read, in float64, moves the total in proportion; what is rounded on the way does not.

    Whatever else is wrong with a total, such as a forgotten bias, stays the same.
    """
    if case.row_kind is RowKind.LENS:
        return None
    direction, read = Logit(case.ids(1)), read_by(case)
    plain, more = (case.attribute(asked, model=_in_double(case, "", 0.0)) for asked in (direction, 3.0 * direction))
    missed = deviation(more.total, 3.0 * plain.total, sum_size(more), torch.finfo(torch.float64).eps)
    if missed is not None:
        said = "in float64, a direction three times as long should read three times as much"
        return Problem(f"{said}, at {list(missed.where)}: {missed}.", _BITS)
    for name in [name for name in (*written(case), *streams(case)) if name in read]:
        one, two = (case.attribute(direction, model=_in_double(case, name, step)) for step in (0.1, 0.2))
        size = sum_size(plain) + sum_size(one) + sum_size(two)
        missed = deviation(two.total - one.total, one.total - plain.total, size, torch.finfo(torch.float64).eps)
        if missed is not None:
            said = f"{name!r} in float64, changed twice as much, should move the sum twice as much"
            return Problem(f"{said}, at {list(missed.where)}: {missed}.", _BITS)
    return None


def _in_double(case: Case, name: str, step: float) -> AlteredAdapter:
    """The model with everything that is read of it in float64, and one activation changed."""

    def widen(anatomy: Anatomy) -> Anatomy:
        anatomy = without_rounding(anatomy)  # what is more than rounding counts as nothing there, which is not linear
        return replace(anatomy, unembedding=replace(anatomy.unembedding, W_U=anatomy.unembedding.W_U.double()))

    def show(hook: str, activation: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        return change(hook, activation.double() if activation.is_floating_point() else activation)

    change = nudged(name, step)
    return AlteredAdapter(case.adapter, widen, show)
