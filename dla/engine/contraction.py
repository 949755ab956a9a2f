"""The engine: contracts each write with the direction while the model runs, and keeps one number a part."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.decomposers.plans import PlanStep
from dla.decomposers.rows import Rows
from dla.errors import UnsupportedModelError
from dla.writes.sites import Site


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
        select: Callable[[Site, Tensor], Tensor],
        places: Sequence[Float[Tensor, "_ direction batch query"]] = (),
    ) -> None:
        """Contracts what reads nothing, and waits for the rest.

        Args:
            steps: The writes, and what is done with the rows of each.
            directions: What is read of each, up to the final norm's scale.
            select: Takes the positions that are asked about out of what a site shows.
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
