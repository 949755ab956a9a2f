"""What experts read, recognised: the matrices inside an expert, which no hook shows.

An expert is called again with what it reads; a hypothesis about its matrices holds for all experts of a layer when it
gives, entry by entry, what they put out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dla.adapters.affine import Affine
from dla.adapters.reads import Expert, ExpertReads, StreamEntry
from dla.adapters.recognise.activation_functions import activation_functions
from dla.adapters.recognise.match import MODULE_INPUT, explained, tensor_of
from dla.adapters.recognise.recording import Recording, widened, wrapped_module
from dla.writes import BoundedValue, Computation, ExpertWrites, Precision
from dla.writes.blocks import product_and_norms
from dla.writes.experts import ExpertCall
from dla.writes.routes import Activations
from dla.writes.sites import Site

_Layout = tuple[Affine, Affine | None, Affine]
"""What the activation function is applied to, what the gate multiplies, and what makes the output."""

_NAMES = (("gate_proj", "up_proj", "down_proj"), ("W_gate", "W_in", "W_out"), ("w1", "w3", "w2"))
"""What the three matrices of an expert are called where each is a module."""

_ROUNDINGS = 4
"""How many roundings an activation function and a product may make of their result."""


def recognise_expert_reads(
    path: str, module_at: Callable[[str], nn.Module], recording: Recording, writes: ExpertWrites, entry: StreamEntry
) -> ExpertReads | str:
    """What the experts of a mixture read, or why that is not known.

    Args:
        path: The mixture's.
        module_at: Gives the module at a path.
        recording: What was seen.
        writes: What the experts write.
        entry: How the stream enters them.
    """
    x, count = recording.read(writes.x), len(writes.parts) - (writes.shared is not None)
    inside = _stacked(module_at(path), x.shape[-1]) or _listed(module_at(path), x.shape[-1])
    if inside is None:
        return f"the matrices of the experts of {path} are not known"
    owner, layouts = inside
    outputs = [_called(writes.call, x, i) for i in range(count)]
    routed = next(
        filter(None, (_all_explained(owner, [layout(i) for i in range(count)], x, outputs) for layout in layouts)), None
    )
    if routed is None:
        return f"an expert of {path} is not act(x W_gate) * (x W_up) W_down"
    if writes.shared is None:
        return ExpertReads(entry, routed, None)
    output = [recording.read(writes.shared)]
    inner = [each for name, each in module_at(path).named_modules() if name.rpartition(".")[2].startswith("shared")]
    guesses = ((each, _layout_of_modules(each, names, x.shape[-1])) for each in inner for names in _NAMES)
    found = (_all_explained(each, [layout], x, output) for each, layout in guesses)
    shared = next(filter(None, found), None)
    if shared is None or (shared[0].up is None) != (routed[0].up is None):
        return f"the shared experts of {path} are not act(x W_gate) * (x W_up) W_down"
    return ExpertReads(entry, routed, shared[0])


def _called(call: ExpertCall, x: Float[Tensor, "batch pos d_model"], i: int) -> Float[Tensor, "batch pos d_model"]:
    """What one expert puts out for every token."""
    flat = x.flatten(0, 1)
    with torch.no_grad():
        output = call(flat, torch.full((len(flat), 1), i, device=flat.device))
    return output.view(x.shape)


def _all_explained(
    owner: nn.Module,
    layouts: Sequence[_Layout | None],
    x: Float[Tensor, "batch pos d_model"],
    outputs: list[Float[Tensor, "batch pos d_model"]],
) -> tuple[Expert, ...] | None:
    """The experts, if their matrices and one activation function make all of these outputs."""
    for act in activation_functions(owner):
        experts = [Expert(*each, act) for each in layouts if each is not None]
        if len(experts) == len(outputs) and all(map(partial(_explains, x), experts, outputs)):
            return tuple(experts)
    return None


def _explains(
    x: Float[Tensor, "batch pos d_model"], expert: Expert, output: Float[Tensor, "batch pos d_model"]
) -> bool:
    dtypes = (x.dtype, expert.down.weight.dtype)
    return explained(partial(_ExpertOutput, expert), {MODULE_INPUT: widened(x)}, output, *dtypes) is not None


def _stacked(module: nn.Module, width: int) -> tuple[nn.Module, list[Callable[[int], _Layout | None]]] | None:
    """The module that holds the matrices of all experts, stacked, and in which layouts it may hold them."""
    owner = next((each for each in module.modules() if _tensor(each, "down_proj", 3) is not None), None)
    if owner is None:
        return None
    gate_up = _tensor(owner, "gate_up_proj", 3)
    split = [_halves, _interleaved] if gate_up is not None else [_alone]
    layouts: list[Callable[[int], _Layout | None]] = [
        partial(_layout_of_stack, owner, how, turned, width) for how in split for turned in (True, False)
    ]
    return owner, layouts


def _listed(module: nn.Module, width: int) -> tuple[nn.Module, list[Callable[[int], _Layout | None]]] | None:
    experts = getattr(module, "experts", None)
    if not isinstance(experts, nn.ModuleList):
        return None
    return experts[0], [partial(_layout_in_list, experts, names, width) for names in _NAMES]


_Split = Callable[[Float[Tensor, "... both"]], tuple[Float[Tensor, "... neuron"], Float[Tensor, "... neuron"] | None]]


def _halves(both: Float[Tensor, "... both"]) -> tuple[Float[Tensor, "... neuron"], Float[Tensor, "... neuron"]]:
    gate, up = both.chunk(2, -1)
    return gate, up


def _interleaved(both: Float[Tensor, "... both"]) -> tuple[Float[Tensor, "... neuron"], Float[Tensor, "... neuron"]]:
    return both[..., ::2], both[..., 1::2]


def _alone(pre: Float[Tensor, "... neuron"]) -> tuple[Float[Tensor, "... neuron"], None]:
    return pre, None


def _layout_of_stack(owner: nn.Module, split: _Split, turned: bool, width: int, i: int) -> _Layout | None:
    """One expert's matrices, of stacks that hold `[d_out d_in]` where they are turned, else `[d_in d_out]`."""
    into = _tensor(owner, "gate_up_proj", 3) if split is not _alone else _tensor(owner, "up_proj", 3)
    out = _tensor(owner, "down_proj", 3)
    if into is None or out is None:
        return None
    prefix = "up_proj" if split is _alone else "gate_up_proj"
    biases = [_tensor(owner, f"{name}_bias", 2) for name in (prefix, "down_proj")]
    matrix, down = (each[i].detach().mT if turned else each[i].detach() for each in (into, out))
    if not matrix.shape[0] == down.shape[1] == width:
        return None
    (pre, up), bias = split(matrix), None if biases[0] is None else split(biases[0][i].detach())
    maps = [
        None if each is None else Affine(each, None if bias is None else bias[k]) for k, each in enumerate((pre, up))
    ]
    assert maps[0] is not None
    return maps[0], maps[1], Affine(down, None if biases[1] is None else biases[1][i].detach())


def _layout_in_list(experts: nn.ModuleList, names: tuple[str, str, str], width: int, i: int) -> _Layout | None:
    return _layout_of_modules(experts[i], names, width)


def _layout_of_modules(expert: nn.Module, names: tuple[str, str, str], width: int) -> _Layout | None:
    """An expert's matrices, each the weight of a module `[d_out d_in]`; without a gate where it has none."""
    found: list[Affine | None] = []
    for name in names:
        module = getattr(wrapped_module(expert) or expert, name, None)
        module = module if not isinstance(module, nn.Module) else wrapped_module(module) or module
        weight = _tensor(module, "weight", 2) if isinstance(module, nn.Module) else None
        bias = None if weight is None or not isinstance(module, nn.Module) else _tensor(module, "bias", 1)
        found.append(None if weight is None else Affine(weight.detach().mT, None if bias is None else bias.detach()))
    gate, up, down = found
    if up is None or down is None or not up.weight.shape[0] == down.weight.shape[1] == width:
        return None
    return (up, None, down) if gate is None else (gate, up, down)


def _tensor(module: nn.Module, name: str, axes: int) -> Tensor | None:
    found = tensor_of(module, name)
    return found if found is not None and found.ndim == axes else None


@final
@dataclass(frozen=True, eq=False)
class _ExpertOutput(Computation):
    """What an expert puts out, made of its matrices."""

    expert: Expert
    precision: Precision

    @property
    def reads(self) -> tuple[Site, ...]:
        return (MODULE_INPUT,)

    def at(self, activations: Activations) -> BoundedValue:
        x, expert, precision = activations[MODULE_INPUT], self.expert, self.precision
        pre = self._product(x, expert.pre)
        value = expert.act(pre.value)
        # No activation function is steeper than twice its argument, nor than 2 near 0.
        slack = 2 * (1 + pre.value.abs()) * pre.slack + _ROUNDINGS * precision.unit * (value.abs() + pre.value.abs())
        if expert.up is not None:
            up = self._product(x, expert.up)
            slack = slack * (up.value.abs() + up.slack) + value.abs() * up.slack
            value = value * up.value
            slack = slack + _ROUNDINGS * precision.unit * value.abs()
        output = self._product(value, expert.down)
        return BoundedValue(output.value, output.slack + slack @ expert.down.weight.to(slack).abs())

    def _product(self, x: Float[Tensor, "batch pos d_in"], affine: Affine) -> BoundedValue:
        value, norms = product_and_norms(x, affine.weight)
        return BoundedValue.of_product(value, x.norm(dim=-1, keepdim=True) * norms, affine.bias, self.precision)
