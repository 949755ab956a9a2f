"""Models that several tests of this folder look at, built once; tests leave them as they found them."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from dla.testing.models import architecture


@cache
def bridged(name: str, mode: str = "raw", dtype: torch.dtype = torch.float32) -> Any:
    """A bridge, "raw" or in "compatibility" mode."""
    return architecture(name).bridge("raw" if mode == "raw" else "compatibility", dtype=dtype)


def hugging_face_logits(name: str, tokens: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The logits of an untouched copy."""
    model: Any = architecture(name).hugging_face(dtype=dtype)
    with torch.no_grad():
        logits: Tensor = model(tokens).logits
    return logits


def own_difference(model: Any, tokens: Tensor, token: int, minus: int) -> Tensor:
    """The difference of two logits of a Hugging Face model, `[batch pos]`."""
    with torch.no_grad():
        logits: Tensor = model(tokens).logits.float()
    return logits[..., token] - logits[..., minus]


def picked(logits: Tensor, ids: Tensor) -> Tensor:
    """The logits `[batch pos vocabulary]` of one token a prompt and position."""
    return logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1)
