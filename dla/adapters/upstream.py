"""The model up to a place in its stream: what wrote to a probe there is attributed as if the model ended there."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, final

from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters.anatomy import Anatomy, Block, Unembedding
from dla.adapters.base import ModelAdapter, Observer
from dla.sites import Site
from dla.vocabulary import Vocabulary
from dla.writes import Whole


@final
class Upstream(ModelAdapter):
    """A model that ends at a place between or in its blocks. It runs as a whole; later blocks are not its parts."""

    def __init__(self, model: ModelAdapter, at: str) -> None:
        """Takes the model up to a place.

        Args:
            model: The whole model.
            at: The hook name of the place.

        Raises:
            ValueError: If the stream is not known at that place; names places where it is.
        """
        self._model, self._whole, self._at = model, model.anatomy, at
        self._end = _end(self._whole.blocks, at)

    @cached_property
    def anatomy(self) -> Anatomy:
        stream, layer, written = self._end
        own = self._whole.blocks[layer]
        last = replace(own, sublayers=own.sublayers[:written], resid_post=stream)
        blocks = (*self._whole.blocks[:layer], last)
        return replace(self._whole, blocks=blocks, unembedding=self._readout(stream.site, stream.route.multiplier))

    @property
    def vocabulary(self) -> Vocabulary:
        return self._model.vocabulary

    def run(
        self,
        tokens: Int[Tensor, "batch pos"],
        observe: Mapping[str, Observer],
        rows: Int[Tensor, "batch kept"] | None,
    ) -> Float[Tensor, "batch kept d_vocab"]:
        return self._model.run(tokens, observe, rows)

    def owns(self, cache: Any) -> bool:
        return self._model.owns(cache)

    def _readout(self, place: Site, multiplier: float) -> Unembedding:
        """A vector reads the stream as it is there, before the constants that later blocks multiply it by."""
        whole = self._whole.unembedding
        return replace(whole, norm=None, b_U=None, normalised=place, multiplier=1 / multiplier)


def _end(blocks: tuple[Block, ...], at: str) -> tuple[Whole, int, int]:
    """The stream at the place, the last block that has written to it, and how many of its sublayers have."""
    for layer, block in enumerate(blocks):
        if block.resid_mid is not None and block.resid_mid.site.name == at:
            return block.resid_mid, layer, 1
        if block.resid_post.site.name == at:
            return block.resid_post, layer, len(block.sublayers)
        if block.resid_pre.site.name == at:
            return block.resid_pre, layer, 0
    known = blocks[-1].resid_post.site.name
    raise ValueError(
        f"There is no residual stream at {at!r} in this model of {len(blocks)} blocks. Pass the hook name of a stream "
        f"before, in or after a block, such as {known!r}."
    )
