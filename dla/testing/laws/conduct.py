"""How a decomposer behaves: the same each time, without changing the model, with sums in enough bits."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from dla.adapters import ModelAdapter, adapt
from dla.adapters.anatomy import Anatomy
from dla.decomposers import ComponentDecomposer
from dla.decomposers.rows import RowKind
from dla.directions import Logit
from dla.labels import ROUNDING
from dla.results.attribution import Attribution
from dla.testing.altered_adapter import AlteredAdapter, without_rounding
from dla.testing.laws.case import Case, Problem, random_ids
from dla.testing.laws.compare import deviation, sum_size
from dla.testing.laws.planning import copied, observed_activations, precision_of, random_directions, steps_of
from dla.testing.laws.reconstruction import hooks_read_by, nudged, streams, written
from dla.testing.laws.rows import problem_of_rows
from dla.testing.laws.wrong_rows import is_small
from dla.testing.subjects import TinyModel, copied_weights
from dla.writes import Rounding, SumOf, Write, is_half

_SINGLE = torch.finfo(torch.float32).eps

_ROUNDED = 8 * torch.finfo(torch.bfloat16).eps
"""The most that half precision may lose of a number that is made of a few others."""


def find_in_repeats(case: Case) -> Problem | None:
    """The same call twice gives the same bits, whatever was asked in between."""
    direction, others = Logit(case.ids(1)), _others(case)
    first, second = case.attribute(direction), case.attribute(direction)
    problem = same_bits(second, first, "the same call twice should give the same bits")
    if problem is not None:
        return problem
    case.attribute(Logit(3), others)
    again = case.attribute(direction)
    said = "other prompts in between should change nothing"
    return same_bits(again, first, said, _CARRIED_OVER)


_CARRIED_OVER = "Something of an earlier run is kept: a plan holds weights, never activations."


def _others(case: Case) -> Int[Tensor, "batch pos"]:
    """Other prompts of the same length."""
    return random_ids(77, case.adapter.vocabulary.input_size - 4, *case.tokens.shape) + 4


def same_bits(got: Attribution, expected: Attribution, said: str, cause: str = "") -> Problem | None:
    """What is wrong with an attribution that should be another to the last bit; None if nothing is.

    Args:
        got: An attribution.
        expected: The one that it should be.
        said: What should be so, the beginning of a sentence.
        cause: What is likely the reason if it is not.
    """
    if got.labels != expected.labels:
        return Problem(f"{said}: got other labels, {got.labels[:4]} and {expected.labels[:4]}.", cause)
    for label, left, right in zip(got.labels, got.values, expected.values, strict=True):
        if not torch.equal(left, right):
            error = float((left - right).abs().max())
            return Problem(f"{said}: row {label!r} is off by up to {error:.1e}, expected 0.", cause)
    return None


def find_hands_on(case: Case) -> Problem | None:
    """Nothing of the model is changed: not its weights, not an activation, not a cache."""
    # A model that nothing else uses, and which really runs: what is shown of it is its own, and no copy.
    model = case.subject.fresh() if isinstance(case.subject, TinyModel) else case.model
    before = copied_weights(model)
    adapter, shown = adapt(model), list[tuple[str, Tensor, Tensor]]()
    plain = adapter.run(case.tokens, {}, None)

    def show(name: str, activation: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        shown.append((name, activation, activation.detach().clone()))
        return activation

    result = case.attribute(Logit(case.ids(1)), model=AlteredAdapter(adapter, show=show))
    now = copied_weights(model)
    changed = next((name for name, weight in before.items() if not _equal(now[name], weight)), None)
    if changed is not None:
        return Problem(f"the weight {changed!r} was changed while it was attributed.", _COPY)
    for name, activation, old in shown:
        if not _equal(activation, old):
            return Problem(f"the activation at {name!r} was changed while it was attributed.", _COPY)
    return _find_in_logits(case, result, plain, adapter) or _find_in_shown(case) or _find_in_cache(case)


def _find_in_logits(
    case: Case, result: Attribution, plain: Float[Tensor, "batch pos d_vocab"], adapter: ModelAdapter
) -> Problem | None:
    """The model says the same before, while and after it is attributed."""
    told = plain.gather(-1, case.ids(1)[..., None].to(plain.device)).squeeze(-1)
    missed = deviation(result.output_logit, told, sum_size(result) + told.abs(), case.eps)
    if missed is not None:
        return Problem(
            f"the model gives other logits while it is attributed, at {list(missed.where)}: {missed}.", _COPY
        )
    if not torch.equal(adapter.run(case.tokens, {}, None), plain):
        return Problem("the model gives other logits after it was attributed than before.", _COPY)
    return None


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
    if not _is_possible(case):
        return None
    try:
        problem = _find_in_dtypes(case) or _find_in_weights(case)
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


_BITS = (
    "Numbers are rounded to too few bits. Activations arrive in float32 or wider: leave them so; weights have the "
    "model's dtype: widen them before something is computed of them."
)


def _is_possible(case: Case) -> bool:
    """Whether PyTorch knows what the decomposer does in the model's dtype: not every operation in half precision."""
    try:
        case.attribute(Logit(case.ids(1)))
    except NotImplementedError as error:
        if "not implemented for" not in str(error):
            raise
        return False
    return True


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
    if wide is None or any(step.reductions and _holds_rounding(step.write) for step in steps_of(case)):
        return None  # in what rows that are chosen or grouped by their values it is, only these tell
    result, exact = (case.attribute(Logit(case.ids(1)), model=model) for model in (None, wide))
    off = ((exact.logit - exact.total - exact.constant).abs() / sum_size(exact)).max()
    if float(off) > _ROUNDED:  # the sum is wrong whatever the bits, as other laws say
        return None
    said = "the rows of a model in half precision should be those of its weights in float32"
    with_rounding = {label for step in steps_of(case) if _holds_rounding(step.write) for label in step.write.labels}
    own = result.select(where=lambda label: label.kind != ROUNDING and label not in with_rounding)
    exact = exact.select(where=lambda label: label not in with_rounding)
    problem = problem_of_rows(own, exact, _SINGLE, said)
    return problem and replace(problem, cause=_BITS)


def _holds_rounding(write: Write) -> bool:
    """Whether what is rounded away is in it: then it differs by just that."""
    return isinstance(write, Rounding) or (isinstance(write, SumOf) and any(map(_holds_rounding, write.writes)))


def _find_in_double(case: Case) -> Problem | None:
    """What is read, in float64, moves the total in proportion; what is rounded on the way does not.

    Whatever else is wrong with a total, such as a forgotten bias, stays the same.
    """
    if case.row_kind is RowKind.LENS:
        return None
    direction, read = Logit(case.ids(1)), hooks_read_by(case)
    plain, more = (case.attribute(asked, model=in_double(case, "", 0.0)) for asked in (direction, 3.0 * direction))
    missed = deviation(more.total, 3.0 * plain.total, sum_size(more), torch.finfo(torch.float64).eps)
    if missed is not None:
        said = "in float64, a direction three times as long should read three times as much"
        return Problem(f"{said}, at {list(missed.where)}: {missed}.", _BITS)
    for name in [name for name in (*written(case), *streams(case)) if name in read]:
        one, two = (case.attribute(direction, model=in_double(case, name, step)) for step in (0.1, 0.2))
        size = sum_size(plain) + sum_size(one) + sum_size(two)
        left, right = two.total - one.total, one.total - plain.total
        missed = deviation(left, right, size, torch.finfo(torch.float64).eps)
        # More than half precision rounds: that is no rounding, but a sum that is no linear function of what it reads.
        if missed is not None and bool((left - right).abs().max() <= _ROUNDED * right.abs().max()):
            said = f"{name!r} in float64, changed twice as much, should move the sum twice as much"
            return Problem(f"{said}, at {list(missed.where)}: {missed}.", _BITS)
    return None


def in_double(case: Case, name: str, step: float) -> AlteredAdapter:
    """The model with everything that is read of it in float64, and one activation changed.

    Args:
        case: What is tried.
        name: The hook of the activation.
        step: By how much it is changed, relative to its own size.
    """

    def widen(anatomy: Anatomy) -> Anatomy:
        anatomy = without_rounding(anatomy)  # what is more than rounding counts as nothing there, which is not linear
        return replace(anatomy, unembedding=replace(anatomy.unembedding, W_U=anatomy.unembedding.W_U.double()))

    def show(hook: str, activation: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        return change(hook, activation.double() if activation.is_floating_point() else activation)

    change = nudged(name, step)
    return AlteredAdapter(case.adapter, widen, show)


def find_rounding(case: Case) -> Problem | None:
    """In half precision the rows add up as well: what the model rounds away are rows."""
    if not is_half(case.adapter.anatomy.dtype) or not _is_possible(case):
        return None
    result = case.attribute(Logit(case.ids(1)))
    gap = (result.logit - result.total - result.constant).double()
    missed = deviation(result.total + result.constant, result.logit, sum_size(result), case.eps)
    if missed is None or bool((gap.abs() > _ROUNDED * sum_size(result)).any()):  # more than rounding: other laws say so
        return None
    every = case.by(ComponentDecomposer()).attribute(Logit(case.ids(1)))
    rounded = is_small(gap - _rounding_of(every) + _rounding_of(result), gap)
    return Problem(
        f"in half precision the rows should add up as well, at {list(missed.where)}: {missed}.",
        f"They miss the rows {ROUNDING!r}: the gap equals their sum. {_ROUNDING_ROWS}" if rounded else _OWN_ROUNDING,
    )


def _rounding_of(result: Attribution) -> Float[Tensor, "batch pos"]:
    rows = [row for label, row in zip(result.parts, result.values, strict=True) if label.kind == ROUNDING]
    return sum((row.double() for row in rows), torch.zeros_like(result.total).double())


_OWN_ROUNDING = (
    "It is not all that the model rounds away. Either some of the rows that hold it are missing, or something is "
    "rounded once more: a site's `read` gets what the hook shows, in the model's dtype, and may widen it."
)

_ROUNDING_ROWS = (
    "What a model in half precision rounds away are rows of `model.embeddings()`, `model.sublayers(layer)` and "
    "`heads.biases()`; the `write` of a sublayer does not hold it."
)
