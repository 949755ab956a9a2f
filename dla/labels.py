"""Labels: what a row of an attribution stands for, spelled as TransformerLens spells it."""

from dataclasses import dataclass
from typing import final

_SPELLINGS = {
    "head": "L{layer}H{index}",
    "neuron": "L{layer}N{index}",
}


@final
@dataclass(frozen=True, slots=True)
class Label:
    """The name of one part.

    Attributes:
        kind: What sort of part it is: `embed`, `attn_out`, `mlp_out`, `head`, `b_O`, ... or a name of your own.
        layer: The block that it belongs to, if it belongs to one.
        index: Which of several parts of that kind in that layer, such as the head's number.
        text: How it is written, where the spelling does not follow from the rest.

    Example:
        >>> [str(label) for label in (Label("embed"), Label("attn_out", 3), Label("head", 9, 6))]
        ['embed', '3_attn_out', 'L9H6']
    """

    kind: str
    layer: int | None = None
    index: int | None = None
    text: str | None = None

    @property
    def head(self) -> int | None:
        """The head's number in its layer, or None where the part is not a head."""
        return self.index if self.kind == "head" else None

    def __str__(self) -> str:
        if self.text is not None:
            return self.text
        if self.kind in _SPELLINGS:
            return _SPELLINGS[self.kind].format(layer=self.layer, index=self.index)
        words = (self.layer, self.kind, self.index)
        return "_".join(str(word) for word in words if word is not None)
