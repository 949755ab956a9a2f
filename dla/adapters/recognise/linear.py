"""The linear map that a module computes: by the weight that it shows, or by what it makes of unit vectors.

Some modules compute more than the weight that they show: an adapter (LoRA and its kin) adds an update, and a quantised
layer makes its weight while it runs. Their output for the unit vectors is their weight. That alone does not show that
they are linear; the recording does.
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

_ROWS = 1024  # how many unit vectors a module is given together

# A smaller relative update is only the rounding of what the module made of the unit vectors.
_NOTHING = 1e-5

_LEAST = torch.finfo(torch.float32).tiny


@final
@dataclass(frozen=True, eq=False)
class Linear:
    """`x @ weight + bias`.

    Attributes:
        weight: The weight.
        bias: The bias; None if there is none.
        dtype: The dtype in which the module holds the weight.
        update: How large what the module adds to the weight that it shows is, relative to the sum; 0 if nothing.
    """

    weight: Float[Tensor, "d_in d_out"]
    bias: Float[Tensor, " d_out"] | None
    dtype: torch.dtype
    update: float = 0.0

    def precision(self, precision: Precision) -> Precision:
        """The precision of a product with this weight."""
        return precision.added_in(self.update) if self.update else precision

    def product(self, x: Site) -> Step:
        """The map as a step from what is read at a site, with all further axes as one."""
        return lambda precision: Product(x, self.weight, self.bias, self.precision(precision))

    def products(self, x: Site, count: int) -> Step:
        """The map as a sum of `count` products, each of which is rounded."""
        weight = self.weight.unflatten(0, (count, -1))
        return lambda precision: PerHeadProducts(x, weight, self.bias, self.precision(precision))


def candidate_linears(
    module: nn.Module, computing: nn.Module | None, weight: str, bias: str, width: int
) -> Iterator[Linear]:
    """What the map may be: first by the weight that is shown, then by the module that computes it.

    Args:
        module: What shows the weight.
        computing: What computes the map, as `reader_of` finds it; None if that is not known.
        weight: The weight's attribute, `[*d_in d_out]`.
        bias: The bias' attribute.
        width: How many numbers go in.
    """
    W, b = tensor_of(module, weight), tensor_of(module, bias)
    if b is None and computing is not None:
        b = tensor_of(computing, "bias")  # TransformerLens' own attribute may hold the empty tensor of an offloaded one
    shown = None if W is None or W.shape[:-1].numel() != width else W.flatten(0, -2)
    if shown is not None:
        yield Linear(shown, b, shown.dtype)
    computed = None if computing is None else linear_from_unit_vectors(computing, width)
    if computed is None or shown is None:
        yield from () if computed is None else (computed,)
    elif shown.shape == computed.weight.shape:
        computed = with_update(computed, Linear(shown, b, shown.dtype))
        if computed.update > _NOTHING or not _same(computed.bias, b):
            yield computed


def with_update(computed: Linear, shown: Linear) -> Linear:
    """The map that a module computes, with how far it is from the weight that the module shows."""
    added = computed.weight - shown.weight.detach().to(computed.weight)
    # The largest of all outputs, since one bound must hold for each of them.
    relative = added.norm(dim=0) / computed.weight.norm(dim=0).clamp(min=_LEAST)
    return replace(computed, update=float(relative.max()))


def reader_of(module: nn.Module, hook: str) -> nn.Module | None:
    """The inner module whose input the hook shows."""
    return _inner(module, hook, "hook_in")


def writer_of(module: nn.Module, hook: str) -> nn.Module | None:
    """The inner module whose output the hook shows."""
    return _inner(module, hook, "hook_out")


def _inner(module: nn.Module, hook: str, side: str) -> nn.Module | None:
    point = _hook_point(module, hook)
    inners = (inner for inner in module.modules() if point is not None and inner is not module)
    return next((inner for inner in inners if _hook_point(inner, side) is point), None)


def linear_from_unit_vectors(module: nn.Module, width: int) -> Linear | None:
    """The weight and bias of the module that a bridge wraps, from its output for unit vectors; None if it fails.

    In float32 or finer, whatever the module's dtype, so that small updates are not rounded away.
    """
    original = getattr(module, "original_component", None)
    if not isinstance(original, nn.Module):
        return None
    dtypes = {tensor.dtype for tensor in original.parameters() if tensor.is_floating_point()}
    dtype = max(dtypes, key=lambda held: torch.finfo(held).eps, default=torch.float32)
    device = next((tensor.device for tensor in original.parameters()), torch.device("cpu"))
    half = any(map(is_half, dtypes))
    if half and any("_hf_hook" in inner.__dict__ for inner in original.modules()):
        return None  # the copy below would include all weights that accelerate keeps for the model
    finest = torch.float64 if dtypes == {torch.float64} else torch.float32
    try:
        called = copy.deepcopy(original).float() if half else original  # quantised weights cannot be copied
        with torch.no_grad():
            bias, weight = _bias_and_weight(called, width, device, finest)
    except Exception:  # a module may refuse vectors for any reason; then nothing is known of it
        return None
    if bias.ndim != 1 or not bool(weight.isfinite().all()):
        return None
    return Linear(weight, bias if bool(bias.any()) else None, dtype)


def _bias_and_weight(
    module: nn.Module, width: int, device: torch.device, dtype: torch.dtype
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """The output for zeros, and that for each unit vector minus it."""

    def output(x: Float[Tensor, "row d_in"]) -> Float[Tensor, "..."]:
        found = first_tensor(module(x.unsqueeze(0)))
        assert found is not None
        return widened(found.squeeze(0))

    bias = output(torch.zeros(1, width, device=device, dtype=dtype))[0]
    return bias, torch.cat([output(some) - bias for some in _units(width, device, dtype)])


def _units(width: int, device: torch.device, dtype: torch.dtype) -> Iterator[Float[Tensor, "row d_in"]]:
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


def _same(bias: Float[Tensor, "..."] | None, other: Float[Tensor, "..."] | None) -> bool:
    bias, other = (torch.zeros(()) if each is None else widened(each.detach()) for each in (bias, other))
    return bool(((bias - other.to(bias)).abs() <= _NOTHING * other.abs().max()).all())
