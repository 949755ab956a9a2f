"""The engine: contracts each write with the direction while the model runs, and keeps one number a part."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.errors import UnsupportedModelError
from dla.sites import Site, take_rows
from dla.writes import Write


@final
class Selection:
    """Takes the positions that are asked about out of an activation, in the precision of the sums."""

    def __init__(self, rows: Int[Tensor, "batch kept"], width: int, everything: bool, dtype: torch.dtype) -> None:
        """Says which positions are kept.

        Args:
            rows: The position of each kept row, by prompt.
            width: How many positions the whole prompts have.
            everything: Whether the kept positions are all, in order.
            dtype: What activations are cast to.
        """
        self.rows, self._width, self._everything, self.dtype = rows, width, everything, dtype

    def __call__(self, site: Site, activation: Tensor) -> Tensor:
        """What a write reads at a site; an activation that holds only the kept positions passes unchanged."""
        if site.flattened:
            activation = activation.unflatten(0, (len(self.rows), -1))
        activation = site.read(activation)
        axis = site.position_axis
        taken = activation if axis is None else self.rows_of(activation, axis)
        return taken.to(self.dtype) if taken.is_floating_point() else taken

    def rows_of(self, activation: Tensor, axis: int) -> Tensor:
        """The kept positions, in the activation's own precision."""
        whole = self._everything or activation.shape[axis] != self._width
        return activation if whole else take_rows(activation, self.rows, axis)


@final
class Contraction:
    """A plan and a direction, waiting for activations.

    Each write is contracted as soon as all that it reads has arrived; an activation is let go when no write waits
    for it any more. Nothing as wide as the stream is kept.
    """

    def __init__(
        self,
        plan: Sequence[Write],
        direction: Float[Tensor, "#batch #pos d_model"],
        select: Selection,
    ) -> None:
        """Contracts what reads nothing, and waits for the rest.

        Args:
            plan: The writes.
            direction: What is read of each, up to the final norm's scale.
            select: Takes the positions that are asked about.
        """
        self._plan, self._select = plan, select
        self._directions = {direction.device: direction}
        self._home = direction.device
        self._values: list[Tensor | None] = [None] * len(plan)
        self._waiting = [set(write.reads) for write in plan]
        self._readers: dict[Site, list[int]] = {}
        for i, sites in enumerate(self._waiting):
            for site in sites:
                self._readers.setdefault(site, []).append(i)
        self._arrived: dict[Site, Tensor] = {}
        self._seen: set[str] = set()
        for i, sites in enumerate(self._waiting):
            if not sites:
                self._contract(i, direction.device)

    def observers(self) -> dict[str, Callable[[Tensor], None]]:
        """What to call with the activation at each hook name."""
        by_name: dict[str, list[Site]] = {}
        for site in self._readers:
            by_name.setdefault(site.name, []).append(site)
        return {name: self._observer(name, sites) for name, sites in by_name.items()}

    def values(self, batch: int, kept: int) -> Float[Tensor, "part {batch} {kept}"]:
        """What the direction reads of every part.

        Raises:
            UnsupportedModelError: If an activation that the plan reads never came.
        """
        missing = sorted({site.name for sites in self._waiting for site in sites})
        if missing:
            raise UnsupportedModelError(
                f"The hook {missing[0]!r} did not fire in this run, and the decomposition reads it. "
                "Switches such as set_use_attn_result change which hooks fire: make the attributor after setting them."
            )
        rows = [value.expand(-1, batch, kept) for value in self._values if value is not None]
        return torch.cat(rows)

    def _observer(self, name: str, sites: Sequence[Site]) -> Callable[[Tensor], None]:
        def observe(activation: Tensor) -> None:
            if name in self._seen:
                raise UnsupportedModelError(
                    f"The hook {name!r} fired more than once in one run, so what it shows is not one write. "
                    "Decompose the model by block, or without this hook."
                )
            self._seen.add(name)
            for site in sites:
                self._arrived[site] = self._select(site, activation)
            for site in sites:
                self._arrive(site)

        return observe

    def _arrive(self, site: Site) -> None:
        for i in self._readers[site]:
            self._waiting[i].discard(site)
            if not self._waiting[i]:
                self._contract(i, self._arrived[site].device)
        self._release()

    def _contract(self, i: int, device: torch.device) -> None:
        if device not in self._directions:
            self._directions[device] = self._directions[self._home].to(device)
        value = self._plan[i].contract(self._arrived, self._directions[device])
        self._values[i] = value.to(self._home)

    def _release(self) -> None:
        for site in [s for s in self._arrived if not any(self._waiting[i] for i in self._readers[s])]:
            del self._arrived[site]


def replay(cache: Any, observe: Mapping[str, Callable[[Tensor], None]]) -> None:
    """Feeds the observers from a precomputed cache instead of a run.

    Raises:
        ValueError: If the cache lacks an activation that is needed; names it.
    """
    for name, observer in observe.items():
        try:
            activation = cache[name]
        except KeyError:
            raise ValueError(
                f"The cache lacks {name!r}, which this attribution reads. Make it with run_with_cache without a "
                "names_filter, or leave the cache out."
            ) from None
        observer(activation if cache.has_batch_dim else activation.unsqueeze(0))
