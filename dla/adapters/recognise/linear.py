"""The linear map that a module computes: by the weight that it shows, or found by asking the module itself.

An adapter (LoRA and its kin) stands beside a weight, and other layers make their weight while they run. What such a
module does with unit vectors is its weight all the same; whether it is linear at all is then seen on the recording.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dla.adapters.recognise.match import Step, tensor_of
from dla.adapters.recognise.recording import first_tensor, widened
from dla.writes import PerHeadProducts, Precision, Product, is_half
from dla.writes.sites import Site

_ROWS = 1024
"""How many unit vectors a module is asked about together."""

_NOTHING = 1e-5
"""An update that is smaller is the rounding of the answers."""

_LEAST = torch.finfo(torch.float32).tiny


@final
@dataclass(frozen=True, eq=False)
class Linear:
    """`x @ weight + bias`.

    Attributes:
        weight: The weight.
        bias: The bias; None if there is none.
        dtype: In which the module holds it.
        update: How large what the module adds to the weight that it shows is, relative to the sum; 0 if that is all.
    """

    weight: Float[Tensor, "d_in d_out"]
    bias: Float[Tensor, " d_out"] | None
    dtype: torch.dtype
    update: float = 0.0

    def precision(self, precision: Precision) -> Precision:
        """That of a product with this weight."""
        return precision.added_in(self.update) if self.update else precision

    def product(self, x: Site) -> Step:
        """The map as a step from what is read at a site, all further axes of it as one."""
        return lambda precision: Product(x, self.weight, self.bias, self.precision(precision))

    def products(self, x: Site, count: int) -> Step:
        """The same, a sum of so many products each of which is rounded."""
        weight = self.weight.unflatten(0, (count, -1))
        return lambda precision: PerHeadProducts(x, weight, self.bias, self.precision(precision))


def candidate_linears(
    module: nn.Module, asked: nn.Module | None, weight: str, bias: str, width: int
) -> Iterator[Linear]:
    """What the map may be: what the weight says, and then what the module that computes it says.

    Args:
        module: What shows the weight.
        asked: What computes the map, as `reader_of` finds it; None if nothing can be asked.
        weight: The weight's attribute, `[*d_in d_out]`.
        bias: The bias' attribute.
        width: How many numbers go in.
    """
    W, b = tensor_of(module, weight), tensor_of(module, bias)
    if b is None and asked is not None:
        b = tensor_of(asked, "bias")  # TransformerLens' own name may still hold what was offloaded
    shown = None if W is None or W.shape[:-1].numel() != width else W.flatten(0, -2)
    if shown is not None:
        yield Linear(shown, b, shown.dtype)
    answer = None if asked is None else linear_from_unit_vectors(asked, width)
    if answer is None or shown is None:
        yield from () if answer is None else (answer,)
    elif shown.shape == answer.weight.shape:
        answer = with_update(answer, Linear(shown, b, shown.dtype))
        if answer.update > _NOTHING or not _same(answer.bias, b):
            yield answer


def with_update(answer: Linear, shown: Linear) -> Linear:
    """What a module said of itself, with how far that is from the weight that it shows."""
    added = answer.weight - shown.weight.detach().to(answer.weight)
    return replace(answer, update=float((added.norm(dim=0) / answer.weight.norm(dim=0).clamp(min=_LEAST)).max()))


def reader_of(module: nn.Module, hook: str) -> nn.Module | None:
    """The inner module whose input is what the hook shows."""
    return _inner(module, hook, "hook_in")


def writer_of(module: nn.Module, hook: str) -> nn.Module | None:
    """The inner module whose output is what the hook shows."""
    return _inner(module, hook, "hook_out")


def _inner(module: nn.Module, hook: str, side: str) -> nn.Module | None:
    point = _hook_point(module, hook)
    inners = (inner for inner in module.modules() if point is not None and inner is not module)
    return next((inner for inner in inners if _hook_point(inner, side) is point), None)


def linear_from_unit_vectors(module: nn.Module, width: int) -> Linear | None:
    """The weight and bias of the module that a bridge wraps, from what it makes of unit vectors; None if it fails.

    In float32 or finer, whatever the module is in, so that small updates are not rounded away.
    """
    original = getattr(module, "original_component", None)
    if not isinstance(original, nn.Module):
        return None
    dtypes = {tensor.dtype for tensor in original.parameters() if tensor.is_floating_point()}
    dtype = max(dtypes, key=lambda held: torch.finfo(held).eps, default=torch.float32)
    device = next((tensor.device for tensor in original.parameters()), torch.device("cpu"))
    half = any(map(is_half, dtypes))
    if half and any("_hf_hook" in inner.__dict__ for inner in original.modules()):
        return None  # a copy would take with it all that accelerate keeps for the model
    asked = copy.deepcopy(original).float() if half else original
    finest = torch.float64 if dtypes == {torch.float64} else torch.float32
    try:
        with torch.no_grad():
            bias, weight = _answers(asked, width, device, finest)
    except Exception:  # what a module accepts is its own business; one that fails tells nothing
        return None
    if bias.ndim != 1 or not bool(weight.isfinite().all()):
        return None
    return Linear(weight, bias if bool(bias.any()) else None, dtype)


def _answers(module: nn.Module, width: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What the module makes of zeros, and of each unit vector beyond that."""

    def answer(x: Tensor) -> Tensor:
        said = first_tensor(module(x.unsqueeze(0)))
        assert said is not None
        return widened(said.squeeze(0))

    bias = answer(torch.zeros(1, width, device=device, dtype=dtype))[0]
    return bias, torch.cat([answer(some) - bias for some in _units(width, device, dtype)])


def _units(width: int, device: torch.device, dtype: torch.dtype) -> Iterator[Tensor]:
    for start in range(0, width, _ROWS):
        some = torch.zeros(min(_ROWS, width - start), width, device=device, dtype=dtype)
        some[torch.arange(len(some)), start + torch.arange(len(some))] = 1.0
        yield some


def _hook_point(module: nn.Module, name: str) -> nn.Module | None:
    try:
        point = getattr(module, name)
    except AttributeError:
        return None
    return point if isinstance(point, nn.Module) else None


def _same(bias: Tensor | None, other: Tensor | None) -> bool:
    bias, other = (torch.zeros(()) if each is None else widened(each.detach()) for each in (bias, other))
    return bool(((bias - other.to(bias)).abs() <= _NOTHING * other.abs().max()).all())
