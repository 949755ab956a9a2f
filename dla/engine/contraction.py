"""The engine: contracts each write with the direction while the model runs, and keeps one number a part."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.decomposers.plans import PlanStep, Rows
from dla.errors import UnsupportedModelError
from dla.writes.sites import Site, take_rows


@final
class PositionSelector:
    """Takes the positions that are asked about out of an activation, in the precision of the sums."""

    def __init__(self, rows: Int[Tensor, "batch query"], width: int, everything: bool, dtype: torch.dtype) -> None:
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
        if site.flattened and tuple(activation.shape[:2]) != (len(self.rows), self._width):  # a cache has split it
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
    """The steps of a plan and some directions, waiting for activations.

    Each write is contracted as soon as all that it reads has arrived; an activation is let go when no write waits
    for it any more. Nothing as wide as the stream is kept.
    """

    def __init__(
        self,
        steps: Sequence[PlanStep],
        directions: Float[Tensor, "direction #batch #pos d_model"],
        select: PositionSelector,
        places: Sequence[Float[Tensor, "_ direction batch query"]] = (),
    ) -> None:
        """Contracts what reads nothing, and waits for the rest.

        Args:
            steps: The writes, and what is done with the rows of each.
            directions: What is read of each, up to the final norm's scale.
            select: Takes the positions that are asked about.
            places: Where the values of each step are put, if it is known how many there are, so that nothing is held
                twice; see `Plan.places`.
        """
        self._steps, self._select = steps, select
        self._places = places
        self._directions = {directions.device: directions}
        self._home = directions.device
        self._rows: list[Rows | None] = [None] * len(steps)
        self._waiting = [set(step.write.reads) for step in steps]
        self._readers: dict[Site, list[int]] = {}
        for i, step in enumerate(steps):
            for site in dict.fromkeys(step.write.reads):
                self._readers.setdefault(site, []).append(i)
        self._arrived: dict[Site, Tensor] = {}
        self._seen: set[str] = set()
        for i, sites in enumerate(self._waiting):
            if not sites:
                self._contract(i, directions.device)

    def observers(self) -> dict[str, Callable[[Tensor], None]]:
        """What to call with the activation at each hook name."""
        by_name: dict[str, list[Site]] = {}
        for site in self._readers:
            by_name.setdefault(site.name, []).append(site)
        return {name: partial(self._observe, name, sites) for name, sites in by_name.items()}

    def rows(self, batch: int, kept: int) -> list[Rows]:
        """What the directions read of every part, `[part direction batch query]`, step by step.

        Raises:
            UnsupportedModelError: If an activation that the plan reads never came.
        """
        missing = sorted({site.name for sites in self._waiting for site in sites})
        if missing:
            raise UnsupportedModelError(
                f"The hook {missing[0]!r} did not fire in this run, and the decomposition reads it. "
                "Switches such as set_use_attn_result change which hooks fire: make the attributor after setting them."
            )
        return [Rows(r.labels, r.values.expand(-1, -1, batch, kept)) for r in self._rows if r is not None]

    def _observe(self, name: str, sites: Sequence[Site], activation: Tensor) -> None:
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

    def _arrive(self, site: Site) -> None:
        for i in self._readers[site]:
            self._waiting[i].discard(site)
            if not self._waiting[i]:
                self._contract(i, self._arrived[site].device)
        self._release()

    def _contract(self, i: int, device: torch.device) -> None:
        if device not in self._directions:
            self._directions[device] = self._directions[self._home].to(device)
        step = self._steps[i]
        with torch.set_grad_enabled(self._directions[self._home].requires_grad):
            values = step.write.contract(self._arrived, self._directions[device])
            rows = step.reduced(values.movedim(-3, 0).to(self._home))
        if self._places:
            _put(rows.values, self._places[i], step.adds)
            rows = Rows(rows.labels, self._places[i])
        self._rows[i] = rows

    def _release(self) -> None:
        for site in [s for s in self._arrived if not any(self._waiting[i] for i in self._readers[s])]:
            del self._arrived[site]


def _put(values: Tensor, place: Tensor, adds: bool) -> None:
    """Puts the rows of a step where they belong; all into one row, where there is one for what is rounded away."""
    if not adds:
        place.copy_(values)
    else:
        place.add_(values if len(place) == len(values) else values.sum(0, keepdim=True))


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


def merged(groups: Sequence[Mapping[str, Callable[[Tensor], None]]]) -> dict[str, Callable[[Tensor], None]]:
    """One observer a hook name, calling all that were asked for."""
    names = dict.fromkeys(name for group in groups for name in group)
    return {name: _in_turn([group[name] for group in groups if name in group]) for name in names}


def _in_turn(calls: Sequence[Callable[[Tensor], None]]) -> Callable[[Tensor], None]:
    return calls[0] if len(calls) == 1 else partial(_call_all, calls)


def _call_all(calls: Sequence[Callable[[Tensor], None]], activation: Tensor) -> None:
    for call in calls:
        call(activation)
