"""How the final norm reacts when parts are removed, measured in one more run for all rows of an attribution.

Without a part the stream is shorter or longer, the norm divides by another scale, and all other parts count for more or
less. With `σ² = ‖Cx‖² / d + ε` that scale needs two numbers of a part `c`: `⟨Cx, c⟩`, which is what the direction `Cx`
reads of it, and `‖Cc‖²`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.watching import merged_observers
from dla.decomposers.members import members
from dla.decomposers.plans import Plan, PlanStep
from dla.decomposers.rows import GROUP, Rows
from dla.engine.contraction import Contraction
from dla.engine.forward import Unembed
from dla.labels import Label
from dla.results.part_vectors import direction_reads
from dla.results.rerun import Rerun
from dla.tolerances import TOLERANCE
from dla.writes import Activations, Norm, Site, Write
from dla.writes.lengths import squared_lengths
from dla.writes.routes import centre

_AT_A_TIME = 1024  # rows


@final
@dataclass(frozen=True, eq=False)
class Reaction:
    """How much larger all other rows become when one part is removed.

    Attributes:
        read: What the directions read of the whole stream, in logits.
        change: The final norm's scale with all parts, divided by its scale without one, minus 1; 0 without a norm.
        error: How far rounding may have moved that quotient, relative to it.
    """

    read: Float[Tensor, "direction batch query"]
    change: Float[Tensor, "part batch query"]
    error: Float[Tensor, "part batch query"]


@torch.no_grad()
def reactions(rerun: Rerun, labels: Sequence[Label]) -> Reaction:
    """How the norm reacts to the removal of each row.

    Args:
        rerun: Where the attribution comes from.
        labels: Its rows.

    Raises:
        RunChangedError: If the model does not run any more as it did.
        ValueError: If the norm's ε is not known.
    """
    shape, norm = rerun.query.positions.index.shape, rerun.query.unembedding.norm
    if norm is None:
        rerun.again({})
        none = rerun.logit.new_zeros(len(labels), *shape)
        return Reaction(rerun.logit, none, none)
    eps = known_eps(norm)
    assert rerun.stream is not None and rerun.scale is not None
    read = torch.linalg.vecdot(direction_reads(rerun.query), rerun.stream) / rerun.scale
    stream = centre(rerun.stream) if norm.centred else rerun.stream
    sums = _measured(rerun, labels, stream, norm)
    d_model = stream.shape[-1]
    size = stream.double().square().sum(-1)
    # Some rows at a time, in float64: the scale without a part may be a small difference of large numbers.
    for some in sums.split(_AT_A_TIME, 1):
        overlaps, lengths = some.double()
        before, after = size / d_model + eps, (size - 2 * overlaps + lengths) / d_model + eps
        # What cancels was summed in the precision of the run; below ε there is nothing but rounding.
        slack = TOLERANCE * rerun.eps * ((size.sqrt() + lengths.sqrt()) ** 2) / d_model
        after = after.clamp(min=eps)
        some[0], some[1] = (before / after).sqrt() - 1, 0.5 * slack / after
    return Reaction(read, sums[0], sums[1])


def known_eps(norm: Norm) -> float:
    """The ε by which a norm has another scale without a part.

    Raises:
        ValueError: If it is not known.
    """
    if norm.eps is None:
        raise ValueError(
            "The ε of the final norm is not known, so neither is its scale without a part. Give the adapter's Norm "
            "its eps."
        )
    return norm.eps


def _measured(
    rerun: Rerun, labels: Sequence[Label], stream: Float[Tensor, "batch query d_model"], norm: Norm
) -> Float[Tensor, "two part batch query"]:
    """`⟨Cx, c⟩` and `‖Cc‖²` of each row."""
    query, plan, shape = rerun.query, rerun.query.plan, rerun.query.positions.index.shape
    steps = plan.steps(query.prompts)
    summed = {i: _Remembered(step.write) for i, step in enumerate(steps) if _is_summed(plan, step)}
    reads = direction_reads(rerun.query).requires_grad_()
    # Two numbers of each part of each write; and the rows that are sums, since which there are may depend on values.
    numbers = Contraction(
        [PlanStep(_Measured(step.write, norm.centred)) for step in steps], stream.unsqueeze(0), query.select
    )
    rows = Contraction([PlanStep(write, steps[i].reductions) for i, write in summed.items()], reads, query.select)
    rerun.again(merged_observers([rows.observers(), numbers.observers()]), Unembed.SAMPLE)
    of_parts = [found.values.movedim(1, 0) for found in numbers.rows(*shape)]
    found, places = stream.new_zeros(2, len(labels), *shape), {label: i for i, label in enumerate(labels)}
    for i in (i for i in range(len(steps)) if i not in summed):
        kept = {places[label]: part for part, label in enumerate(steps[i].write.labels) if label in places}
        found[:, _span(list(kept))] = of_parts[i][:, _span(list(kept.values()))].to(found)
    with torch.enable_grad():
        terms: dict[Label, list[_Term]] = {}
        for (i, write), of_step in zip(summed.items(), rows.rows(*shape), strict=True):
            for label, term in _terms(i, write, of_step):
                terms.setdefault(plan.label_in_result(label), []).append(term)
        for label in (label for label in terms if label in places):
            found[:, places[label]] = _of_row(terms[label], of_parts, reads, stream, norm).detach()
    return found


def _span(places: list[int]) -> slice | list[int]:
    """The places as a slice where they follow one another, so that none is looked up."""
    following = places == list(range(places[0], places[0] + len(places))) if places else False
    return slice(places[0], places[-1] + 1) if following else places


def _is_summed(plan: Plan, step: PlanStep) -> bool:
    """Whether rows of a step may be sums of several parts."""
    labels = step.write.labels
    merged = any(label.kind == GROUP or plan.label_in_result(label) is not label for label in labels)
    return bool(step.reductions) or plan.add_equal_labels or merged


@final
@dataclass(frozen=True, eq=False)
class _Term:
    """What one step adds to a row.

    Attributes:
        step: Which step.
        parts: Which parts of its write.
        value: Their sum, as a function of the direction.
    """

    step: int
    parts: Sequence[int]
    value: Float[Tensor, "direction batch query"]


def _terms(i: int, write: "_Remembered", rows: Rows) -> Iterator[tuple[Label, _Term]]:
    """What one step adds to the rows of the result, with the label of each."""
    parts_of_each = members(rows, write.values)
    for label, parts, value in zip(rows.labels, parts_of_each, rows.values, strict=True):
        yield label, _Term(i, parts, value)


def _of_row(
    terms: Sequence[_Term],
    of_parts: Sequence[Float[Tensor, "two _ batch query"]],
    reads: Float[Tensor, "direction batch query d_model"],
    stream: Float[Tensor, "batch query d_model"],
    norm: Norm,
) -> Float[Tensor, "two batch query"]:
    first = terms[0]
    if len(terms) == 1 and len(first.parts) == 1:
        return of_parts[first.step][:, first.parts[0]]
    # Lengths do not add up: the vector of the sum is the gradient of its value by the direction.
    total = torch.stack([term.value for term in terms]).sum(0)
    (gradient,) = torch.autograd.grad(total.sum(), reads, retain_graph=True)
    vector = centre(gradient[0]) if norm.centred else gradient[0]
    return torch.stack([torch.linalg.vecdot(stream, vector), torch.linalg.vecdot(vector, vector)])


class _Wrapped(Write):
    """A write of which something more is kept or measured when it is contracted."""

    def __init__(self, write: Write) -> None:
        self.write = write

    @property
    def labels(self) -> Sequence[Label]:
        return self.write.labels

    @property
    def reads(self) -> tuple[Site, ...]:
        return self.write.reads

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        return self.write.vectors(activations)


@final
class _Remembered(_Wrapped):
    """Keeps the values of its parts, for whoever asks where they went."""

    values: Float[Tensor, "direction part #batch #pos"]

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        self.values = self.write.contract(activations, direction)
        return self.values


@final
class _Measured(_Wrapped):
    """Gives two numbers of each part: what one direction reads of it, and its squared length."""

    def __init__(self, write: Write, centred: bool) -> None:
        super().__init__(write)
        self._centred = centred

    def contract(
        self, activations: Activations, direction: Float[Tensor, "1 #batch #pos d_model"]
    ) -> Float[Tensor, "two part #batch #pos"]:
        overlaps = self.write.contract(activations, direction)
        squares = squared_lengths(self.write, activations, direction[0], self._centred).unsqueeze(0)
        return torch.cat(torch.broadcast_tensors(overlaps, squares))
