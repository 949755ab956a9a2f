"""Every kind of write against its dense truth, on random data, over every route to the stream."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mutants.altered import AlteredWrite
from torch import Tensor
from write_samples import KINDS, OTHER_SCALE, ROUTES, Shape, sample, shapes

import dla
from dla.testing.laws.planning import problem_of_write
from dla.writes.lengths import squared_lengths

EPS = torch.finfo(torch.float64).eps


def assert_near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.expand_as(expected), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("route", ROUTES)
@given(data=st.data(), shape=shapes, seed=st.integers(0, 2**20))
def test_a_write_is_its_dense_truth(data: st.DataObject, kind: str, route: str, shape: Shape, seed: int) -> None:
    write, activations, truth, generator = sample(kind, route, shape, seed)
    assert_near(write.vectors(activations), truth)
    more = data.draw(st.lists(st.integers(1, 3), max_size=2))
    batch, positions = data.draw(st.sampled_from([(shape.batch, shape.pos), (1, shape.pos), (shape.batch, 1), (1, 1)]))
    direction = torch.randn(*more, batch, positions, shape.d_model, generator=generator, dtype=torch.float64)
    assert_near(write.contract(activations, direction), (truth * direction.unsqueeze(-4)).sum(-1))
    assert problem_of_write(write, activations, direction, EPS) is None
    stream = torch.zeros(shape.batch, shape.pos, shape.d_model, dtype=torch.float64)
    for centred in (False, True):
        vectors = truth - truth.mean(-1, keepdim=True) if centred else truth
        assert_near(squared_lengths(write, activations, stream, centred), vectors.square().sum(-1))
    both = dla.SumOf((write, write), dla.Label("both"))
    assert [str(label) for label in both.labels] == ["both"]
    assert set(both.reads) == set(write.reads)
    assert_near(both.vectors(activations), 2 * truth.sum(0, keepdim=True))


def test_every_kind_of_write_is_tested() -> None:
    kinds = (kind for kind in dla.Write.__subclasses__() if kind.__module__.startswith("dla."))
    concrete = {kind for kind in kinds if not kind.__name__.startswith("_")}
    assert concrete == {type(sample(kind, "direct", Shape(), 0).write) for kind in KINDS}


def changed(write: Any, **changes: Any) -> Any:
    if isinstance(write, dla.SumOf):
        return replace(write, writes=[changed(part, **changes) for part in write.writes])
    return replace(write, **changes)


def with_norm(write: Any, **changes: Any) -> dict[str, Any]:
    return {"route": replace(write.route, norm=replace(write.route.norm, **changes))}


MISTAKES: dict[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    "forgets the multiplier": ("multiplied", lambda w: {"route": replace(w.route, multiplier=1.0)}),
    "forgets the norm": ("layer-norm", lambda w: {"route": replace(w.route, norm=None)}),
    "does not centre": ("layer-norm", lambda w: with_norm(w, centred=False)),
    "centres": ("rms-norm", lambda w: with_norm(w, centred=True)),
    "drops the norm's weight": ("rms-norm", lambda w: with_norm(w, weight=None)),
    "takes another scale": ("norm-without-weight", lambda w: with_norm(w, scale=OTHER_SCALE)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("kind", ["whole", "change", "factored", "scaled", "constant"])
def test_a_mistake_on_the_way_is_caught(kind: str, mistake: str) -> None:
    """By the dense truth, and by the law of a write where only one of its two ways makes it."""
    route, change = MISTAKES[mistake]
    write, activations, truth, generator = sample(kind, route, Shape(), 7)
    direction = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    wrong = changed(write, **change(write))
    with pytest.raises(AssertionError, match="not close"):
        assert_near(wrong.vectors(activations), truth)
    for contracted, shown in ((write, wrong), (wrong, write)):
        twin = AlteredWrite(contracted, showing=lambda _, seen, shown=shown: shown.vectors(seen), declared=activations)
        problem = problem_of_write(twin, activations, direction)
        assert problem is not None
        assert "`contract` is not `vectors` dotted with the direction" in problem.what


def test_a_write_that_reads_more_than_it_says_is_caught() -> None:
    write, activations, _, generator = sample("whole", "layer-norm", Shape(), 7)
    direction = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64)
    problem = problem_of_write(AlteredWrite(write, declared=write.reads[:1]), activations, direction)
    assert problem is not None
    assert "needs 'scale', which is not among its `reads`" in problem.what
