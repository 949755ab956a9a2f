"""Activations that no hook point shows, taken from the arguments of a module's call."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Shaped
from torch import Tensor, nn


@final
@dataclass(frozen=True, eq=False)
class ModuleInput:
    """One argument of a module's calls, which is observed like a hook point.

    Attributes:
        module: The module.
        place: The number of the argument, positional ones first.
    """

    module: nn.Module
    place: int

    def register(self, observe: Callable[[Shaped[Tensor, "..."]], None]) -> Any:
        """Calls `observe` with the argument after each call of the module; returns the handle that ends this."""

        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _output: Any) -> None:
            arguments = (*args, *kwargs.values())
            if self.place < len(arguments) and isinstance(arguments[self.place], Tensor):
                observe(arguments[self.place])

        return self.module.register_forward_hook(hook, with_kwargs=True)


HookPoints = Mapping[str, nn.Module | ModuleInput]
"""What can be observed, by name."""


def module_inputs_of(blocks: Iterable[nn.Module]) -> dict[str, ModuleInput]:
    """What every mixture of experts in the blocks is called with: its input, the experts chosen, their weights.

    Hugging Face keeps all experts of a layer in one module with stacked weights, which is called with all three;
    TransformerLens' own mixture has a list of expert modules, and is called with its input.
    """
    inputs: dict[str, ModuleInput] = {}
    for i, block in enumerate(blocks):
        for child, module in block.named_children():
            if child == "_original_component":
                continue
            path = f"blocks.{i}.{child}.experts"
            stacked = next((inner for inner in module.modules() if is_stack_of_experts(inner)), None)
            if stacked is not None:
                inputs |= {
                    f"{path}.{name}": ModuleInput(stacked, place) for place, name in enumerate(("x", "index", "weight"))
                }
            elif isinstance(getattr(module, "experts", None), nn.ModuleList):
                inputs[f"{path}.x"] = ModuleInput(module, 0)
    return inputs


def is_stack_of_experts(module: nn.Module) -> bool:
    """Whether a module holds the matrices of all experts, stacked, as Hugging Face keeps them."""
    down = dict(module.named_parameters(recurse=False)).get("down_proj")
    return down is not None and down.ndim == 3
