"""Moves every parameter of a model away from its default value.

A fresh model has zero biases and unit norms. Attribution that forgets a bias, or a norm's weight, is still
right on it, so a test on a fresh model shows nothing.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import final

import torch
from torch import Tensor, nn

EMBEDDING_SCALE = 0.6
"""Standard deviation of embeddings: a few units of logits where they are tied to the unembedding."""

JITTER = 0.3
"""Standard deviation of biases, and of what is added to parameters that stay near their default."""

LEARNED_BUFFERS = ("layer_scalar", "e_score_correction_bias", "expert_bias")
"""Buffers that a checkpoint fills and a fresh model leaves at one or zero; all others are derived."""


@final
@dataclass(frozen=True)
class _Slot:
    """One tensor to fill: its name in the model, the module that holds it and its name there."""

    name: str
    owner: nn.Module
    leaf: str
    tensor: Tensor


def randomise(module: nn.Module, seed: int) -> None:
    """Gives every parameter of `module` a random value, in place.

    A value depends on the seed and on the parameter's name and shape, so two models that name their
    parameters alike get the same weights in whatever order they were built:

    - matrices: N(0, 1 / fan-in);
    - embeddings: N(0, 0.6²);
    - biases: N(0, 0.3²);
    - norm parameters and other vectors (attention sinks, state space rates, layer scales): their default
      plus N(0, 0.3²).

    Buffers are left alone, except the few that stand for learned values (`LEARNED_BUFFERS`).

    Args:
        module: The model. A parameter that several modules share is an embedding if one of them is one.
        seed: Any integer; different seeds give different weights everywhere.
    """
    with torch.no_grad():
        for slot in _slots(module):
            noise = torch.randn(slot.tensor.shape, generator=_generator(seed, slot.name), dtype=torch.float64)
            scale = _scale(slot)
            slot.tensor.copy_(slot.tensor.double().cpu() + JITTER * noise if scale is None else scale * noise)


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _slots(module: nn.Module) -> Iterator[_Slot]:
    """Each tensor once, under the name that an embedding gives it, else the first name in the alphabet."""
    sharers: dict[int, list[_Slot]] = {}
    for path, owner in module.named_modules():
        learned = (b for b in owner.named_buffers(path, recurse=False) if b[0].endswith(LEARNED_BUFFERS))
        for name, tensor in chain(owner.named_parameters(path, recurse=False), learned):
            leaf = name.rpartition(".")[2].lstrip("_")  # HookedTransformer: "_W_K" where query heads share a key
            sharers.setdefault(id(tensor), []).append(_Slot(name, owner, leaf, tensor))
    for slots in sharers.values():
        yield min(slots, key=lambda slot: (not isinstance(slot.owner, nn.Embedding), slot.name))


def _scale(slot: _Slot) -> float | None:
    """The standard deviation to draw with around zero, or None to draw around the default."""
    if "Norm" in type(slot.owner).__name__ or slot.leaf in ("A_log", "dt_bias", *LEARNED_BUFFERS):
        return None
    if isinstance(slot.owner, nn.Embedding) or slot.leaf in ("W_E", "W_pos"):
        return EMBEDDING_SCALE
    if slot.leaf.endswith("bias") or slot.leaf.startswith("b_"):
        return JITTER
    return None if _is_vector(slot) else _fan_in(slot) ** -0.5


def _is_vector(slot: _Slot) -> bool:
    """Whether the tensor has one axis longer than 1 and is not the weight of a linear map."""
    linear = isinstance(slot.owner, nn.Linear | nn.Conv1d) and slot.leaf == "weight"
    return not linear and slot.tensor.numel() == max(slot.tensor.shape, default=1)


def _fan_in(slot: _Slot) -> int:
    """How many inputs one output of a matrix sums.

    Batched experts come as [expert, out, in] or as [expert, in, out], which their shape does not tell; the
    last axis is taken for both, which is off by the ratio of the two.
    """
    shape = slot.tensor.shape
    if isinstance(slot.owner, nn.Conv1d):
        return shape[1] * shape[2]
    if slot.leaf == "W_O":
        return shape[0] * shape[1]
    if slot.leaf.startswith("W_") or type(slot.owner).__name__ == "Conv1D":
        return shape[-2]
    return shape[-1]
