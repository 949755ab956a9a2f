"""What each part with a known name contributes, to compare rows of that name with."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.decomposers import (
    BiasDecomposer,
    BlockDecomposer,
    ComponentDecomposer,
    Decomposer,
    ExpertDecomposer,
    HeadDecomposer,
    LayerDecomposer,
    NeuronDecomposer,
    SourceDecomposer,
)
from dla.decomposers.rows import GROUP
from dla.directions import Logit
from dla.labels import Label
from dla.testing.laws.case import Case
from dla.testing.laws.rows import key_of
from dla.testing.subjects import TinyModel

_SHIPPED: tuple[Decomposer, ...] = (
    LayerDecomposer(),
    BiasDecomposer(),
    ExpertDecomposer(),
    SourceDecomposer(),
    NeuronDecomposer(),
    HeadDecomposer(),
    BlockDecomposer(),
    ComponentDecomposer(),
)
"""Where two of them have a row of the same name, the later one's is taken."""

ReferenceRows = Mapping[Label, Float[Tensor, "batch pos"]]

_Ids = tuple[tuple[int, ...], ...]


def reference_rows(case: Case, ids: Int[Tensor, "batch pos"]) -> ReferenceRows:
    """The rows of the library's own decomposers for the logit of a token."""
    if isinstance(case.subject, TinyModel):
        return _cached_rows(case.subject, _listed(case.tokens), _listed(ids))
    return _shipped_rows(case, ids)


def known_parents(label: Label, known: ReferenceRows) -> Iterator[Label]:
    """The parts with a known name that a part is a piece of, the nearest first."""
    yield from (part for part in label.path() if part is not label and key_of(part) in known)


@lru_cache(maxsize=512)
def _cached_rows(subject: TinyModel, tokens: _Ids, ids: _Ids) -> ReferenceRows:
    """Reference rows of a catalogue model, cached: many checks compare with them."""
    return _shipped_rows(Case(ComponentDecomposer(), subject, torch.tensor(tokens)), torch.tensor(ids))


def _shipped_rows(case: Case, ids: Int[Tensor, "batch pos"]) -> ReferenceRows:
    found: dict[Label, Tensor] = {}
    for decomposer in _SHIPPED:
        result = case.by(decomposer).attribute(Logit(ids), model=case.adapter)
        found |= {key_of(label): row for label, row in zip(result.parts, result.values, strict=True)}
    return {key: row for key, row in found.items() if key.kind != GROUP}


def _listed(ids: Int[Tensor, "batch pos"]) -> _Ids:
    return tuple(tuple(row) for row in ids.tolist())
