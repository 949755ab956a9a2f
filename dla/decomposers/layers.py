"""Which layers a decomposer splits."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

from dla.adapters.anatomy import Sublayer
from dla.adapters.base import ModelAdapter
from dla.errors import UnsupportedModelError
from dla.plans import Item
from dla.writes import Write

Piece = TypeVar("Piece", bound=Item)
Layers = Collection[int] | None
"""Layers by number; None for all."""


def split_sublayers(
    model: ModelAdapter, layers: Layers, split: Callable[[Sublayer], Sequence[Piece] | None], what: str
) -> Iterator[Write | Piece]:
    """The embeddings, and the sublayers of every block: in pieces in the chosen layers, else whole.

    Args:
        model: The model.
        layers: The layers whose sublayers are split.
        split: The pieces of a sublayer, or None if it has none.
        what: What the pieces are, for messages.

    Raises:
        ValueError: If the model has no such layer.
        UnsupportedModelError: If a layer that was named has nothing to split.
    """
    for layer in layers or ():
        if not 0 <= layer < model.n_layers:
            raise ValueError(f"There is no layer {layer}; the model has layers 0 to {model.n_layers - 1}.")
    yield from model.embeddings()
    for layer in range(model.n_layers):
        chosen = layers is None or layer in layers
        sublayers = model.block(layer).sublayers
        pieces = [split(sublayer) if chosen else None for sublayer in sublayers]
        if layers is not None and chosen and all(piece is None for piece in pieces):
            raise UnsupportedModelError(
                f"Layer {layer} has no {what} whose writes add up to a sublayer of it. Leave it out of `layers`."
            )
        for sublayer, piece in zip(sublayers, pieces, strict=True):
            yield from [sublayer.write] if piece is None else piece
            yield from sublayer.rounding
