"""Every kind of write contracts a direction as its vectors would; on random data, over every route to the stream."""

import pytest
import torch
from assertions import assert_contract_is_vectors
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from write_samples import KINDS, ROUTES, Shape, sample, shapes

import dla

seeds = st.integers(0, 2**20)
each_kind = pytest.mark.parametrize("kind", KINDS)
each_route = pytest.mark.parametrize("route", ROUTES)


@each_kind
@each_route
@given(data=st.data(), shape=shapes, seed=seeds)
def test_contract_is_the_dot_product_with_the_vectors(
    data: st.DataObject, kind: str, route: str, shape: Shape, seed: int
) -> None:
    write, activations, generator = sample(kind, route, shape, seed)
    more = data.draw(st.lists(st.integers(1, 3), max_size=2))
    batch, positions = data.draw(st.sampled_from([(shape.batch, shape.pos), (1, shape.pos), (shape.batch, 1), (1, 1)]))
    direction = torch.randn(*more, batch, positions, shape.d_model, generator=generator, dtype=torch.float64)
    assert_contract_is_vectors(write, activations, direction)


@each_kind
@given(route=st.sampled_from(ROUTES), shape=shapes, seed=seeds)
def test_contract_is_linear_in_the_direction(kind: str, route: str, shape: Shape, seed: int) -> None:
    write, activations, generator = sample(kind, route, shape, seed)
    a, b = torch.randn(2, shape.batch, shape.pos, shape.d_model, generator=generator, dtype=torch.float64)

    def read(direction: Tensor) -> Tensor:
        return write.contract(activations, direction)

    torch.testing.assert_close(read(2 * a - 3 * b), 2 * read(a) - 3 * read(b), rtol=1e-9, atol=1e-9)


@each_kind
@given(route=st.sampled_from(ROUTES), shape=shapes, seed=seeds)
def test_a_sum_of_writes_is_one_part(kind: str, route: str, shape: Shape, seed: int) -> None:
    write, activations, _ = sample(kind, route, shape, seed)
    together = dla.SumOf((write, write), dla.Label("both"))
    vectors = together.vectors(activations)
    expected = 2 * write.vectors(activations).sum(0, keepdim=True)
    assert [str(label) for label in together.labels] == ["both"]
    assert set(together.reads) == set(write.reads)
    torch.testing.assert_close(vectors, expected.to(vectors))


@given(shape=shapes, seed=seeds)
def test_vectors_without_a_route_are_what_the_words_say(shape: Shape, seed: int) -> None:
    (whole, of_whole, _), (change, of_change, _) = (sample(kind, "direct", shape, seed) for kind in ("whole", "change"))
    (heads, of_heads, _), (neurons, of_neurons, _) = (
        sample(kind, "direct", shape, seed) for kind in ("factored", "scaled")
    )
    assert isinstance(whole, dla.FullOutput)
    assert isinstance(change, dla.Change)
    assert isinstance(heads, dla.HeadWrites)
    assert isinstance(neurons, dla.NeuronWrites)
    z, post = of_heads[heads.site], of_neurons[neurons.site]
    expected = {
        whole: (of_whole, of_whole[whole.site][None]),
        change: (of_change, (of_change[change.after] - change.carry * of_change[change.before])[None]),
        heads: (of_heads, torch.stack([z[:, :, part] @ heads.weight[part] for part in range(shape.parts)])),
        neurons: (of_neurons, torch.stack([post[..., n, None] * neurons.weight[n] for n in range(shape.parts)])),
    }
    for write, (activations, vectors) in expected.items():
        assert change.carry != 1.0
        factor = write.route.multiplier
        torch.testing.assert_close(write.vectors(activations), factor * vectors, rtol=1e-9, atol=1e-9)


def test_every_kind_of_write_is_tested() -> None:
    public = [getattr(dla, name) for name in dla.__all__]
    concrete = {kind for kind in public if isinstance(kind, type) and issubclass(kind, dla.Write)} - {dla.Write}
    assert concrete == {type(sample(kind, "direct", Shape(), 0)[0]) for kind in KINDS}
