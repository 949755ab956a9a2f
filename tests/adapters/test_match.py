"""What is recognised from activations alone: which parts a block adds, and the constants it multiplies them by."""

import pytest
import torch
from torch import Tensor

import dla
from dla.adapters.recognise.block_sums import recognise_block_sum
from dla.adapters.recognise.match import constant_factor
from dla.testing import TinyModel

WRITTEN_DOWN = (1.0, 0.6, -0.5, 3.0, 0.22, 12.5, 0.037, 1.4142)
"""Constants as configurations have them, with few digits."""


def drawn(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, 8, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("factor", WRITTEN_DOWN)
def test_a_constant_is_found_as_it_was_written_down(factor: float) -> None:
    """To the last bit: a fit alone is off in the seventh digit."""
    before, attention, mlp = drawn(3)
    assert constant_factor(before, factor * before) == factor
    parts = {"attention": attention, "mlp": mlp}
    found = recognise_block_sum(before, 0.9 * before + factor * attention - 2.5 * mlp, parts, [])
    assert found is not None
    assert (found.carry, found.factors) == (0.9, {"attention": factor, "mlp": -2.5})


def test_a_constant_with_many_digits_is_found_as_closely_as_it_shows() -> None:
    (before,) = drawn(1)
    factor = constant_factor(before, torch.pi * before)
    assert factor == pytest.approx(torch.pi, rel=1e-6)


def test_what_is_no_multiple_has_no_factor() -> None:
    before, other = drawn(2)
    assert constant_factor(before, before + 1e-3 * other) is None
    assert constant_factor(before, before[:1]) is None
    assert recognise_block_sum(before, before * other, {"other": other}, []) is None


def test_the_multipliers_of_granite_are_those_of_its_configuration() -> None:
    model = dla.adapt(TinyModel("granite-biases").model())
    factors = {s.write.route.multiplier for layer in range(2) for s in model.block(layer).sublayers}
    assert factors == {0.6}
