"""Activation functions that a module may apply, tried one after the other."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dla.adapters.recognise.recording import wrapped_module

ActivationFunction = Callable[[Float[Tensor, "*shape"]], Float[Tensor, "*shape"]]


def activation_functions(module: nn.Module) -> Iterator[ActivationFunction]:
    """Activation functions: those that most models have, then what the module has under such a name."""
    yield from (functional.silu, _gelu_tanh, functional.gelu, functional.relu, _relu_squared, _gelu_sigmoid)
    for owner in (module, wrapped_module(module)):
        for name, value in _attributes(owner):
            if "act" in name.lower() and callable(value):
                yield _Called(value)


def _attributes(owner: nn.Module | None) -> Iterator[tuple[str, object]]:
    if owner is not None:
        yield from vars(owner).items()
        yield from owner._modules.items()


@final
@dataclass(frozen=True, eq=False)
class _Called:
    """What a module of the model has under the name of an activation function; NaN where it is none."""

    function: Callable[..., object]

    def __call__(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        try:
            with torch.no_grad():
                value = self.function(x)
        except Exception:  # what is called so may be anything
            value = None
        return value if isinstance(value, Tensor) and value.shape == x.shape else x * torch.nan


def _gelu_tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return functional.gelu(x, approximate="tanh")


def _relu_squared(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return functional.relu(x).square()


def _gelu_sigmoid(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return x * torch.sigmoid(1.702 * x)
