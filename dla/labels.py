"""The name of one row of an attribution, spelled as TransformerLens spells it."""

import numbers
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

ROUNDING = "rounding"
"""The kind of what the model's own arithmetic rounds away: computed step by step, and one row of a result."""

_SPELLINGS = {
    "head": "L{layer}H{index}",
    "neuron": "L{layer}N{index}",
    "expert": "L{layer}E{index}",
    "source": "L{layer}H{index} ← {source}",
}


@final
@dataclass(frozen=True, slots=True)
class Label:
    """The name of one part.

    Attributes:
        kind: The sort of part: `embed`, `attn_out`, `mlp_out`, `head`, `b_O`, ... or a name of your own.
        layer: The block that it belongs to, if it belongs to one.
        index: Its number among the parts of that kind in that layer, such as the head's number.
        text: The spelling, where it does not follow from the other fields.
        source: The position in the prompt that the part comes from, if it comes from one.
        parent: The label of the part that it is a piece of; None for a part of the stream itself. The pieces of a
            part add up to it.

    Raises:
        ValueError: If the kind or the text is empty: nobody could ask for such a part, and no file tells it from one
            without a text.

    Examples:
        >>> [str(label) for label in (Label("embed"), Label("attn_out", 3), Label("head", 9, 6))]
        ['embed', '3_attn_out', 'L9H6']
        >>> [str(label) for label in Label("source", 9, 6, source=3, parent=Label("head", 9, 6)).path()]
        ['L9H6 ← 3', 'L9H6']
    """

    kind: str
    layer: int | None = None
    index: int | None = None
    text: str | None = None
    source: int | None = None
    # Not compared: the same head is found by its layer and number, whatever it was split from.
    parent: "Label | None" = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Checks the fields, quickly: a result may have a million labels.

        Raises:
            TypeError: If one is of another kind.
            ValueError: If the label would have no name.
        """
        texts = type(self.kind), type(self.text), type(self.parent)
        if texts not in _TEXTS or not {type(self.layer), type(self.index), type(self.source)} <= _NUMBER:
            _check(self)
        if not self.kind or self.text == "":
            raise ValueError("A part cannot be called ''. Give it a name; a label whose text is None has a spelling.")

    @property
    def head(self) -> int | None:
        """The head's number in its layer; None where the part is neither a head nor a piece of one."""
        return next((label.index for label in self.path() if label.kind == "head"), None)

    def path(self) -> Iterator["Label"]:
        """This label, the part that it is a piece of, and so on up to a part of the stream."""
        label: Label | None = self
        while label is not None:
            yield label
            label = label.parent

    def __str__(self) -> str:
        if self.text is not None:
            return self.text
        if self.kind in _SPELLINGS:
            return _SPELLINGS[self.kind].format(layer=self.layer, index=self.index, source=self.source)
        words = (self.layer, self.kind, self.index)
        return "_".join(str(word) for word in words if word is not None)


_TEXT, _LABEL, _NUMBER = (str, type(None)), (Label, type(None)), {int, type(None)}
_TEXTS = {(str, text, label) for text in _TEXT for label in _LABEL}


def _check(label: Label) -> None:
    """Makes whole numbers of other libraries Python's; refuses all else."""
    for name in ("layer", "index", "source"):
        value = getattr(label, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, numbers.Integral)):
            raise TypeError(f"Label: {name} is of type {type(value).__name__}. Pass a whole number, or None.")
        object.__setattr__(label, name, None if value is None else int(value))
    for name, kinds, such_as in (("kind", str, "a text"), ("text", _TEXT, "a text"), ("parent", _LABEL, "a Label")):
        value = getattr(label, name)
        if not isinstance(value, kinds):
            raise TypeError(f"Label: {name} is of type {type(value).__name__}. Pass {such_as}.")
