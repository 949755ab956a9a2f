"""What several tests ask of a result or a model, beside what `dla.testing` asserts."""

from typing import Any

import torch
from torch import nn

import dla

TENSORS = ("values", "total", "constant", "logit", "output_logit", "tolerance", "positions", "gap")


def assert_identical(actual: dla.Attribution, expected: dla.Attribution) -> None:
    """The two say the same, bit for bit, wherever they come from."""
    assert actual.parts == expected.parts
    assert actual.provenance == expected.provenance
    for name in TENSORS:
        left, right = getattr(actual, name), getattr(expected, name)
        assert left.dtype == right.dtype
        torch.testing.assert_close(left, right, rtol=0, atol=0, equal_nan=True)


def hooks_on(model: Any) -> list[Any]:
    """Every hook on the model, in order."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "fwd_hooks", "bwd_hooks")
    modules = [*model.modules(), *getattr(model, "original_model", nn.Module()).modules()]
    return [(id(m), kind, list(getattr(m, kind))) for m in modules for kind in kinds if getattr(m, kind, None)]
