"""The promises that several tests hold their subjects to, each written once."""

import torch
from torch import Tensor

import dla
from dla.routes import Activations

ROUNDINGS = 64.0
"""How many rounding units, of the size of the numbers that cancel, two ways to the same number may differ by."""


def assert_close(actual: Tensor, expected: Tensor, size: Tensor | float, eps: float, what: str = "values") -> None:
    """The two differ by rounding only.

    Args:
        actual: What the library says.
        expected: What was found without it.
        size: How large the numbers are that were added up.
        eps: The rounding unit.
        what: For the message.
    """
    assert actual.shape == expected.shape, f"{what}: shape {list(actual.shape)}, expected {list(expected.shape)}"
    error, allowed = (actual.double() - expected.double()).abs(), ROUNDINGS * eps * torch.as_tensor(size).double()
    worst = (error / allowed.clamp(min=1e-300)).nan_to_num(torch.inf).max()
    assert bool(worst <= 1), f"{what} are off by up to {float(error.max()):.1e}, {float(worst):.1e} times the allowed"


def size_of(result: dla.Attribution) -> Tensor:
    """The size of the numbers that cancel in an attribution."""
    parts = result.values.abs()
    of_parts = parts.sum(0) if result.record.law == "partition" else parts.amax(0)
    return of_parts + result.constant.abs() + result.logit.abs()


def assert_reconstructs(result: dla.Attribution, own: Tensor, eps: float) -> None:
    """The rows and the constant come to the model's own logit, which was found without the library.

    Args:
        result: An attribution.
        own: The logit (or combination of logits) before the output transform.
        eps: The rounding unit of the model's arithmetic.
    """
    total = result.values.sum(0) if result.record.law == "partition" else result.values[-1]
    size = size_of(result) + own.abs()
    assert_close(result.logit, own, size, eps, "the measured logits")
    assert_close(total + result.constant, own, size, eps, "the sums of the parts and the constant")
    assert_close(result.total, total, size, eps, "the totals")
    assert bool((result.gap.abs() <= result.tolerance).all())
    assert bool((result.tolerance <= 1e-3 * size).all()), "a tolerance so large that the check means nothing"


def assert_same_rows(actual: dla.Attribution, expected: dla.Attribution, eps: float, factor: float = 1.0) -> None:
    """The two attributions have the same parts, and numbers that are the same up to rounding and a factor."""
    assert actual.labels == expected.labels
    size = size_of(expected).abs().nan_to_num(0.0).max() * abs(factor) + torch.finfo(torch.float32).tiny
    for name in ("values", "total", "constant", "logit"):
        left, right = getattr(actual, name), factor * getattr(expected, name)
        assert left.shape == right.shape, f"{name}: shape {list(left.shape)}, expected {list(right.shape)}"
        assert torch.equal(left.isnan(), right.isnan())
        assert_close(left.nan_to_num(0.0), right.nan_to_num(0.0), size, eps, name)


def assert_contract_is_vectors(write: dla.Write, activations: Activations, direction: Tensor) -> None:
    """What a write contracts with a direction is the dot product of its vectors with that direction.

    Args:
        write: Any write.
        activations: At every site; the write is shown those that it says it reads, and no others.
        direction: `[*more batch pos d_model]`; batch and position may be of size 1.
    """
    shown = {site: activations[site] for site in write.reads}
    vectors, contracted = write.vectors(shown), write.contract(shown, direction)
    assert len(write.labels) == vectors.shape[0] == contracted.shape[-3]
    products = vectors * direction.unsqueeze(-4)
    dotted, size = products.sum(-1), products.abs().sum(-1)
    contracted = contracted.expand_as(dotted)
    assert_close(contracted, dotted, size + size.mean(), torch.finfo(direction.dtype).eps, "the contracted values")
