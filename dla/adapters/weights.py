"""What a sweep must know of a model beyond its anatomy: its weights, its context, what to send to other machines."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dla.adapters.base import ModelAdapter
from dla.adapters.hooked_transformer import HookedTransformerAdapter
from dla.adapters.transformer_bridge import TransformerBridgeAdapter

_CHUNK = 2**18
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint(model: ModelAdapter) -> str:
    """Changes when a weight does, by a bit; is the same on every device.

    All parameters and buffers of a `HookedTransformer` or `TransformerBridge` count; of other adapters, those at the
    readout.
    """
    total = hashlib.sha256()
    for name, tensor in _tensors(model):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} {checksums(tensor)}\n".encode())
    return total.hexdigest()


def context_of(model: ModelAdapter) -> int | None:
    """How many tokens a prompt may have, where it is known."""
    if isinstance(model, HookedTransformerAdapter | TransformerBridgeAdapter):
        return model.context
    return None


def source_of(model: ModelAdapter) -> Any:
    """What `adapt` makes this adapter of: the model itself, or an adapter of the user's own."""
    if isinstance(model, HookedTransformerAdapter | TransformerBridgeAdapter):
        return model.source
    return model


def _tensors(model: ModelAdapter) -> Iterator[tuple[str, Tensor]]:
    if isinstance(model, HookedTransformerAdapter | TransformerBridgeAdapter):
        yield from sorted(model.tensors())
        return
    unembedding = model.anatomy.unembedding
    yield "W_U", unembedding.W_U
    if unembedding.b_U is not None:
        yield "b_U", unembedding.b_U


def checksums(tensor: Tensor) -> list[int]:
    """A number for each piece of a tensor: Σ bits · odd number of the place, modulo 2^64, in whole numbers only."""
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    flat = real.detach().reshape(-1).contiguous()
    bits = flat.to(torch.uint8) if flat.dtype == torch.bool else flat.view(_INTEGERS[flat.element_size()])
    places = 2 * torch.arange(min(_CHUNK, len(bits)), device=bits.device) + 0x9E3779B97F4A7C1
    sums = [(piece.long() * places[: len(piece)]).sum() for piece in bits.split(_CHUNK)]
    return torch.stack(sums).tolist() if len(bits) else []
