"""What a model class tells before its anatomy is recognised: its modules, and facts that no activation shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from jaxtyping import Float
from torch import Tensor, nn


@final
@dataclass(frozen=True)
class ModelModules:
    """Where the modules of a model are, and what no activation shows.

    Attributes:
        name: The model's name.
        blocks: The blocks.
        ln_final: The final norm; None if the model has none.
        unembed: The unembedding.
        centred: Whether the configuration names LayerNorm rather than RMSNorm; decides only where both fit.
        compatibility: Whether compatibility mode is on.
        transforms: What may turn the unembedding's output into the logits that the model returns.
        children: For each block, its modules by name.
    """

    name: str
    blocks: Sequence[nn.Module]
    ln_final: nn.Module | None
    unembed: nn.Module
    centred: bool
    compatibility: bool = False
    transforms: Sequence[Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]] = ()
    children: list[dict[str, nn.Module]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for block in self.blocks:
            named = block.named_children()
            # A bridge reaches the module that it wraps as a child, which would be seen twice.
            self.children.append({n: m for n, m in named if n != "_original_component" and not n.startswith("hook_")})

    def by_path(self) -> Mapping[str, nn.Module]:
        """Every module whose input and output are recorded, by path."""
        modules = {f"blocks.{i}.{n}": m for i, children in enumerate(self.children) for n, m in children.items()}
        modules["unembed"] = self.unembed
        if self.ln_final is not None:
            modules["ln_final"] = self.ln_final
        return modules
