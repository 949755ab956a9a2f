"""Activations of a run, or of a cache in its stead, handed to observers; and which positions are taken of them."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dla.adapters.base import ModelAdapter, Observer
from dla.adapters.watching import merged_observers
from dla.inputs.given import shown
from dla.inputs.positions import Positions
from dla.inputs.prompts import Prompts
from dla.writes.sites import Site, take_rows

_AGAIN = "Make the cache again with run_with_cache, or leave it out."


@final
class PositionSelector:
    """Takes the positions that are asked about out of an activation, in the precision of the sums."""

    def __init__(self, positions: Positions, width: int, dtype: torch.dtype) -> None:
        """Says which positions are taken.

        Args:
            positions: The positions asked about.
            width: How many positions the whole prompts have.
            dtype: What activations are cast to.
        """
        self._positions, self._width, self.dtype = positions, width, dtype

    def __call__(self, site: Site, activation: Tensor) -> Tensor:
        """What a write reads at a site; an activation that holds only the positions asked about passes unchanged."""
        activation = site.laid_out(activation, len(self._positions.index), self._width)
        axis = site.position_axis
        taken = activation if axis is None else self.rows_of(activation, axis)
        return taken.to(self.dtype) if taken.is_floating_point() else taken

    def rows_of(self, activation: Tensor, axis: int) -> Tensor:
        """The positions asked about, in the activation's own precision."""
        whole = self._positions.everything or activation.shape[axis] != self._width
        return activation if whole else take_rows(activation, self._positions.index, axis)


def selector_of(model: ModelAdapter, prompts: Prompts, positions: Positions) -> PositionSelector:
    """Takes the positions that are asked about out of a model's activations."""
    dtype = torch.promote_types(model.anatomy.unembedding.W_U.dtype, torch.float32)
    return PositionSelector(positions, prompts.tokens.shape[1], dtype)


def watch(
    model: ModelAdapter,
    prompts: Prompts,
    positions: Positions,
    cache: Any,
    observers: Sequence[Mapping[str, Observer]],
) -> Float[Tensor, "batch query d_vocab"] | None:
    """Runs the model, or goes over the cache, and calls all observers.

    Args:
        model: The model.
        prompts: The prompts.
        positions: The positions that are unembedded.
        cache: The activations of a run, or None.
        observers: By hook name; several groups of them.

    Returns:
        The logits that the model returned, at those positions; None where it was not run.
    """
    observe = merged_observers(observers)
    if cache is not None:
        replay(cache, observe)
        return None
    few = positions.index.shape[1] < prompts.tokens.shape[1]
    return model.run(prompts.tokens, observe, positions.index if few else None)


def replay(cache: Any, observe: Mapping[str, Observer]) -> None:
    """Feeds the observers from a precomputed cache instead of a run.

    Raises:
        TypeError: If what it holds is no activation.
        ValueError: If it lacks an activation that is needed, or holds one of another shape; names it.
    """
    for name, observer in observe.items():
        try:
            activation = cache[name]
        except KeyError:
            raise ValueError(
                f"The cache lacks {name!r}, which this attribution reads. Make it with run_with_cache without a "
                "names_filter, or leave the cache out."
            ) from None
        _shown_to(observer, name, _checked_activation(activation, name, cache.has_batch_dim))


def _checked_activation(held: object, name: str, batched: bool) -> Shaped[Tensor, "..."]:
    if not isinstance(held, Tensor) or held.is_meta or held.is_nested or held.layout != torch.strided:
        raise TypeError(f"The cache holds {shown(held)} as {name!r}. Pass what run_with_cache returned.")
    activation = held if batched else held.unsqueeze(0)
    if activation.ndim < 2 or not activation.numel() or activation.is_quantized:
        raise ValueError(f"The cache holds {shown(held)} as {name!r}, and not one vector a position. {_AGAIN}")
    return activation


def _shown_to(observer: Observer, name: str, activation: Shaped[Tensor, "..."]) -> None:
    try:
        observer(activation)
    except (RuntimeError, IndexError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ValueError(
            f"The cache holds {shown(activation)} as {name!r}, which does not fit the model. {_AGAIN}"
        ) from error
