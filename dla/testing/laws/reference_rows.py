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
from dla.decomposers.plans import GROUP
from dla.directions import Logit
from dla.labels import Label
from dla.testing.cache_rows import rows_from_cache
from dla.testing.laws.case import Case, seeded
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

_ENOUGH = 24
"""How many tokens a norm is fitted to."""

ReferenceRows = Mapping[Label, Float[Tensor, "batch pos"]]

_Ids = tuple[tuple[int, ...], ...]


def reference_rows(case: Case, ids: Int[Tensor, "batch pos"]) -> ReferenceRows:
    """The rows of the library's own decomposers for the logit of a token."""
    if isinstance(case.subject, TinyModel):
        return _cached_rows(case.subject, _listed(case.tokens), _listed(ids))
    return _shipped_rows(case, ids)


def independent_rows(case: Case, ids: Int[Tensor, "batch pos"]) -> Mapping[str, Float[Tensor, "batch pos"]]:
    """The same by the label as it is written, from the model's own cache and weights, without the library.

    Empty for a model of the user's own, and where the final norm is no LayerNorm or RMSNorm.
    """
    if not isinstance(case.subject, TinyModel):
        return {}
    return _independent_rows(case.subject, _listed(case.tokens), _listed(ids))


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


@lru_cache(maxsize=512)
def _independent_rows(subject: TinyModel, tokens: _Ids, ids: _Ids) -> Mapping[str, Float[Tensor, "batch pos"]]:
    batch, width = len(tokens), len(tokens[0])
    size = (-(-_ENOUGH // width), width)
    # A norm cannot be fitted to a few tokens: others are run beside them, and their rows dropped.
    others = torch.randint(4, subject.adapter().vocabulary.input_size, size, generator=seeded(7))
    asked = torch.cat([torch.tensor(ids), torch.zeros_like(others)])
    try:
        rows = rows_from_cache(subject.model(), torch.cat([torch.tensor(tokens), others]))
    except ValueError as error:
        if "is no norm of the last stream" not in str(error):  # the final norm is another, and there are no such rows
            raise
        return {}
    return {label: rows.row(label, asked)[:batch] for label in rows.vectors}


def _listed(ids: Int[Tensor, "batch pos"]) -> _Ids:
    return tuple(tuple(row) for row in ids.tolist())
