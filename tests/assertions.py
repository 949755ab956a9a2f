"""The promises that several tests hold their subjects to, each written once."""

from typing import Any

import torch
from torch import Tensor, nn

import dla
from dla.writes.routes import Activations

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
    of_parts = parts.sum(0) if result.provenance.row_kind == "additive" else parts.amax(0)
    return of_parts + result.constant.abs() + result.logit.abs()


TENSORS = ("values", "total", "constant", "logit", "output_logit", "tolerance", "positions", "gap")


def assert_identical(actual: dla.Attribution, expected: dla.Attribution) -> None:
    """The two say the same, bit for bit, wherever they come from."""
    assert actual.parts == expected.parts
    assert actual.provenance == expected.provenance
    for name in TENSORS:
        left, right = getattr(actual, name), getattr(expected, name)
        assert left.dtype == right.dtype
        torch.testing.assert_close(left, right, rtol=0, atol=0, equal_nan=True)


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


def hooks_on(model: Any) -> list[Any]:
    """Every hook on the model, in order."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "fwd_hooks", "bwd_hooks")
    modules = [*model.modules(), *getattr(model, "original_model", nn.Module()).modules()]
    return [(id(m), kind, list(getattr(m, kind))) for m in modules for kind in kinds if getattr(m, kind, None)]
