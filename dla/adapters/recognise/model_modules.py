"""What a model class hands to discovery: its modules, and a few facts that no activation shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from torch import Tensor, nn


@final
@dataclass(frozen=True)
class ModelModules:
    """The modules and facts that a model class hands to discovery.

    Attributes:
        name: The model's name.
        blocks: The blocks.
        ln_final: The final norm; None if the model has none.
        unembed: The unembedding.
        centred: Whether the configuration speaks of LayerNorm rather than RMSNorm; settles ties only.
        compatibility: Whether compatibility mode is on.
        transforms: What may turn the unembedding's output into the logits that the model returns.
    """

    name: str
    blocks: Sequence[nn.Module]
    ln_final: nn.Module | None
    unembed: nn.Module
    centred: bool
    compatibility: bool = False
    transforms: Sequence[Callable[[Tensor], Tensor]] = ()
    children: list[dict[str, nn.Module]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for block in self.blocks:
            named = block.named_children()
            self.children.append({n: m for n, m in named if n != "_original_component" and not n.startswith("hook_")})

    def by_path(self) -> Mapping[str, nn.Module]:
        """Every module whose input and output discovery wants to see, by path."""
        modules = {f"blocks.{i}.{n}": m for i, children in enumerate(self.children) for n, m in children.items()}
        modules["unembed"] = self.unembed
        if self.ln_final is not None:
            modules["ln_final"] = self.ln_final
        return modules
