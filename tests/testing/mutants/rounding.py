"""Adapters that leave out what half precision rounds away, in one place of the anatomy each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import dla
from dla.adapters import Sublayer
from dla.testing import AlteredAdapter
from dla.testing.altered_adapter import AlterAnatomy
from mutants.altered import with_heads, with_readout, with_sublayers


def _piece(name: str) -> Callable[[Sublayer], Sublayer]:
    def alter(sublayer: Sublayer) -> Sublayer:
        piece: Any = getattr(sublayer, name)
        return sublayer if piece is None else replace(sublayer, **{name: replace(piece, rounding=())})

    return alter


@final
@dataclass(frozen=True)
class Forgets:
    """Gives the adapter of a model, without some of its rounding."""

    of: str
    alter: AlterAnatomy

    @property
    def __name__(self) -> str:
        return f"forgets_rounding_of_{self.of}"

    @property
    def __doc__(self) -> str:  # type: ignore[override]  # of the class in all others
        return f"Says that the arithmetic of {self.of} rounds nothing away in half precision."

    def __call__(self, model: Any) -> dla.ModelAdapter:
        return AlteredAdapter(model, self.alter)


_ALTER: Mapping[str, AlterAnatomy] = {
    "sublayers": with_sublayers(lambda sublayer: replace(sublayer, rounding=())),
    "heads": with_sublayers(_piece("heads")),
    "values": with_heads(lambda h: replace(h, values=None if h.values is None else replace(h.values, rounding=()))),
    "neurons": with_sublayers(_piece("neurons")),
    "experts": with_sublayers(_piece("experts")),
    "unembedding": with_readout(rounding=None),
}

WITHOUT = {of: Forgets(of, alter) for of, alter in _ALTER.items()}
