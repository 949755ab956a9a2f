"""The model up to a place in its stream, for vectors that read the stream there."""

from dataclasses import replace

from dla.adapters.anatomy import Block
from dla.adapters.base import ModelAdapter
from dla.adapters.unembedding import Unembedding
from dla.adapters.view import AdapterView
from dla.inputs.given import shown
from dla.writes import FullOutput
from dla.writes.sites import Site


def up_to(model: ModelAdapter, at: str) -> AdapterView:
    """A model that ends at a place between or in its blocks. All of it runs; later blocks have no rows.

    Args:
        model: The whole model.
        at: The hook name of the place.

    Raises:
        ValueError: If the stream is not known at that place; names places where it is.
    """
    whole = model.anatomy
    stream, layer, written = _end(whole.blocks, at)
    own = whole.blocks[layer]
    last = replace(own, sublayers=own.sublayers[:written], resid_post=stream)
    unembedding = _readout(whole.unembedding, stream.site, stream.route.multiplier)
    return AdapterView(model, replace(whole, blocks=(*whole.blocks[:layer], last), unembedding=unembedding), whole)


def _readout(whole: Unembedding, place: Site, multiplier: float) -> Unembedding:
    """The readout of a vector that reads the stream directly."""
    # Writes are in the units of the final stream, so the constants of later blocks are divided out again.
    return replace(whole, norm=None, b_U=None, normalised=place, multiplier=1 / multiplier, rounding=None)


def _end(blocks: tuple[Block, ...], at: str) -> tuple[FullOutput, int, int]:
    """The stream at the place, the last block that wrote to it, and how many sublayers of that block did."""
    for layer, block in enumerate(blocks):
        if block.resid_mid is not None and block.resid_mid.site.name == at:
            return block.resid_mid, layer, 1
        if block.resid_post.site.name == at:
            return block.resid_post, layer, len(block.sublayers)
        if block.resid_pre.site.name == at:
            return block.resid_pre, layer, 0
    known = blocks[-1].resid_post.site.name
    raise ValueError(
        f"There is no residual stream at {shown(at)} in this model of {len(blocks)} blocks. Pass the hook name of a "
        f"stream before, in or after a block, such as {known!r}."
    )
