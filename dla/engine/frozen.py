"""A frozen run: what some hooks showed in one run, kept, so that directions can be pulled back through sublayers."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dla.engine.activations import PositionSelector
from dla.engine.query import Query
from dla.inputs.positions import Positions, read_positions
from dla.writes.sites import Site


@final
class FrozenRun(Mapping[Site, Tensor]):
    """The activations of one run at every position of the prompts, by site; each is cast when it is first asked for."""

    def __init__(self, query: Query, names: Iterable[str]) -> None:
        """Keeps nothing yet.

        Args:
            query: What was asked of the model.
            names: The hooks whose activations are kept.
        """
        self.positions: Positions = read_positions(None, query.prompts)
        self.select = PositionSelector(self.positions, query.prompts.tokens.shape[1], query.select.dtype)
        self.home = query.unembedding.W_U.device
        self._coarsest = query.model.anatomy.dtype
        self._names = frozenset(names)
        self._kept: dict[str, Tensor] = {}
        self._at: dict[Site, Tensor] = {}

    def observers(self) -> dict[str, Callable[[Tensor], None]]:
        """What to call with activations, by hook name."""
        return {name: partial(self._keep, name) for name in self._names}

    def shown(self, name: str) -> Shaped[Tensor, "..."]:
        """What a hook showed."""
        return self._kept[name]

    def __getitem__(self, site: Site) -> Tensor:
        if site not in self._at:
            self._at[site] = self.select(site, self._kept[site.name]).to(self.home)
        return self._at[site]

    def __iter__(self) -> Iterator[Site]:
        return iter(self._at)

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, site: object) -> bool:
        return isinstance(site, Site) and site.name in self._kept

    def unit(self, eps: float) -> float:
        """The rounding unit of what a sublayer makes of the stream; in half precision that rounding has no row.

        Args:
            eps: The unit of the steps that have no row in an attribution.
        """
        return max(eps, torch.finfo(self._coarsest).eps)

    def everywhere(
        self, values: Float[Tensor, "batch query *d"], positions: Positions
    ) -> Float[Tensor, "batch pos *d"]:
        """Values at some positions, each where it belongs among all positions; 0 elsewhere."""
        index, valid = (tensor.to(values.device) for tensor in (positions.index, positions.valid))
        shape = (len(index), self.positions.index.shape[1], *values.shape[2:])
        used = values * valid.reshape(*valid.shape, *[1] * (values.ndim - 2))
        whole = values.new_zeros(shape)
        rows = torch.arange(len(index), device=values.device).unsqueeze(-1).expand(index.shape)
        return whole.index_put_((rows, index), used, accumulate=True)

    def _keep(self, name: str, activation: Tensor) -> None:
        # A copy, since a later module may write into it.
        self._kept[name] = activation.detach().clone()
