"""The places on the way of the stream at which an activation can be edited, in the order in which a model has them."""

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import final

from dla.adapters.anatomy import Anatomy, Sublayer
from dla.writes import FullOutput, Site, Write


class Stretch(enum.IntEnum):
    """Where a place is, as seen from a block."""

    ENTERING = 0
    INSIDE = 1
    AFTER = 2


@final
@dataclass(frozen=True, eq=False)
class Stop:
    """A place on the way to the stream, or of the stream itself.

    Attributes:
        site: Where it is read.
        write: What is written from there to the final stream, by the site that is read.
        layer: The block that it is in.
        sublayer: The sublayer on whose way it is; None for the stream itself.
        rank: In a sublayer: 0 before its output matrix, 1 before its post-norm, 2 after it.
        stretch: Whether it is where the stream enters the block, or further on in it.
    """

    site: Site
    write: Callable[[Site], Write]
    layer: int
    sublayer: Sublayer | None = None
    rank: int = 2
    stretch: Stretch = Stretch.INSIDE


def stops_of(anatomy: Anatomy) -> Iterator[Stop]:
    """The places of a model, in the order in which it comes to them."""
    for layer, block in enumerate(anatomy.blocks):
        yield _of_stream(block.resid_pre, layer, Stretch.ENTERING)
        for i, sublayer in enumerate(block.sublayers):
            yield from sorted(_of_sublayer(sublayer, layer), key=lambda stop: stop.rank)
            if i == 0 and block.resid_mid is not None:
                yield _of_stream(block.resid_mid, layer)
        yield _of_stream(block.resid_post, layer)


def _of_stream(stream: FullOutput, layer: int, stretch: Stretch = Stretch.INSIDE) -> Stop:
    return Stop(stream.site, lambda site: replace(stream, site=site), layer, stretch=stretch)


def _of_sublayer(sublayer: Sublayer, layer: int) -> Iterator[Stop]:
    heads, neurons, label = sublayer.heads, sublayer.neurons, sublayer.write.labels[0]
    if heads is not None:
        yield Stop(heads.z, lambda site: replace(heads.write(), site=site), layer, sublayer, 0)
    if neurons is not None:
        yield Stop(neurons.post, lambda site: replace(neurons.write(), site=site), layer, sublayer, 0)
    for place, route in sublayer.outputs:
        write = partial(FullOutput, label=label, route=route)
        yield Stop(place, write, layer, sublayer, 1 if route.norm is not None else 2)


def block_name(layer: int) -> str:
    """The path of a block's module."""
    return f"blocks.{layer}"
