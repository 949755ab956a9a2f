"""Splitting the sublayers of some layers into pieces."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from dla.adapters.anatomy import PieceKind, Sublayer
from dla.adapters.base import ModelAdapter
from dla.decomposers.plans import Item
from dla.errors import CoarseDecompositionWarning, UnsupportedModelError, warn_caller
from dla.inputs.given import items, shown, whole_number
from dla.writes import Write

Piece = TypeVar("Piece", bound=Item)

if TYPE_CHECKING:
    Layers = Collection[int] | None
else:  # a type checker at run time would refuse a wrong argument before `read_layers` can explain what is wrong
    Layers = object
"""Layers by number; None for all."""

BIASES = "biases"
"""What the pieces are if each bias is one."""

_CERTAIN = (PieceKind.EXPERTS, BIASES)  # a sublayer without a reason why it has no such pieces has none
_SHOWN = 3  # how many sublayers a message names before it counts the rest


def read_layers(layers: Layers) -> frozenset[int] | None:
    """The layers that were named; None for all.

    Raises:
        TypeError: If they are not a list of whole numbers.
        ValueError: If the list is empty.
    """
    if layers is None:
        return None
    several = list(layers) if isinstance(layers, set | frozenset) else items(layers)
    if several is None:
        alone = whole_number(layers)
        pass_ = "their numbers, such as [0, 1], or None for all" if alone is None else f"layers=[{shown(alone)}]"
        raise TypeError(f"layers={shown(layers)} is not a list of layers. Pass {pass_}.")
    if not several:
        raise ValueError(f"layers={shown(layers)} names no layer to split. Pass at least one, or None for all.")
    found: set[int] = set()
    for layer in several:
        number = whole_number(layer)
        if number is None:
            raise TypeError(f"layers={shown(layers)}: {shown(layer)} is not a layer. Pass whole numbers, such as 1.")
        found.add(number)
    return frozenset(found)


def split_sublayers(
    model: ModelAdapter, layers: Layers, split: Callable[[Sublayer], Sequence[Piece] | None], what: str
) -> Iterator[Write | Piece]:
    """The embeddings, and the sublayers of every block: in pieces in the chosen layers, whole in others.

    Args:
        model: The model.
        layers: The layers whose sublayers are split; None for all.
        split: The pieces of a sublayer; None if it has none.
        what: What the pieces are, for messages: a `PieceKind`, or words of your own.

    Raises:
        TypeError: If the layers are not a list of whole numbers.
        ValueError: If the list is empty, or the model has no such layer.
        UnsupportedModelError: If a layer that was named has nothing to split.

    Warns:
        CoarseDecompositionWarning: If a sublayer stays whole although it may have such pieces.
    """
    named = read_layers(layers)
    for layer in sorted(named or ()):
        if not 0 <= layer < model.n_layers:
            raise ValueError(f"There is no layer {shown(layer)}; the model has layers 0 to {model.n_layers - 1}.")
    yield from model.embeddings()
    unsplit: list[Sublayer] = []
    for layer in range(model.n_layers):
        chosen = named is None or layer in named
        sublayers = model.block(layer).sublayers
        pieces = [split(sublayer) if chosen else None for sublayer in sublayers]
        if named is not None and chosen and all(piece is None for piece in pieces):
            raise UnsupportedModelError(
                f"Layer {layer} has no {what} whose writes add up to a sublayer of it"
                f"{_because(sublayers, what)}. Leave it out of `layers`."
            )
        for sublayer, piece in zip(sublayers, pieces, strict=True):
            yield from [sublayer.write] if piece is None else piece
            yield from sublayer.rounding
            if chosen and piece is None and _may_have(sublayer, what):
                unsplit.append(sublayer)
    if unsplit:  # one warning for all layers
        warn_caller(_left_whole(unsplit, what), CoarseDecompositionWarning)


def _may_have(sublayer: Sublayer, what: str) -> bool:
    """Whether a sublayer may have such pieces: something looked like them, or nothing inside it is known."""
    known = sublayer.heads is not None or sublayer.neurons is not None or sublayer.experts is not None
    return what in sublayer.reasons or not (known or what in _CERTAIN)


def _left_whole(sublayers: Sequence[Sublayer], what: str) -> str:
    names = [str(sublayer.write.labels[0]) for sublayer in sublayers]
    more = f" and {len(names) - _SHOWN} more, up to {names[-1]}" if len(names) > _SHOWN else ""
    verb = "stays" if len(names) == 1 else "stay"
    some, because = ", ".join(names[:_SHOWN]), _because(sublayers, what)
    return f"No {what} are known to add up to {some}{more}, which {verb} whole{because}."


def _because(sublayers: Sequence[Sublayer], what: str) -> str:
    """The first known reason why they stay whole, in brackets."""
    return next((f" ({sublayer.reasons[what]})" for sublayer in sublayers if what in sublayer.reasons), "")
