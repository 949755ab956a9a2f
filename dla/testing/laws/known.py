"""The parts whose names mean something, and what they come to."""

import contextlib
from collections.abc import Iterator, Mapping
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters import ModelAdapter
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
from dla.decomposers.plans import GROUP, RowKind
from dla.directions import Logit
from dla.labels import Label
from dla.testing.expected import expected
from dla.testing.laws.case import Case, attributed, generator
from dla.testing.laws.rows import Key, key_of
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
"""Whose labels are known; the coarser ones last, so that they have the last word."""

Known = Mapping[Key, Float[Tensor, "batch pos"]]

_ENOUGH = 24
"""How many tokens it takes to tell a norm by what it does."""


def known_rows(case: Case, ids: Int[Tensor, "batch pos"]) -> Known:
    """What each part with a known name contributes to the logit of a token, by the library's own decomposers."""
    if isinstance(case.subject, TinyModel):
        return _known(case.subject, _listed(case.tokens), _listed(ids))
    return _found(case.adapter, case.tokens, ids)


def independent_rows(case: Case, ids: Int[Tensor, "batch pos"]) -> Mapping[str, Float[Tensor, "batch pos"]]:
    """The same by the written label, from the model's own hooks and weights, without a write of the library.

    Empty for a model that is no model of TransformerLens, or whose final norm is no norm.
    """
    if not isinstance(case.subject, TinyModel):
        return {}
    return _independent(case.subject, _listed(case.tokens), _listed(ids))


Ids = tuple[tuple[int, ...], ...]


@lru_cache(maxsize=512)
def _known(subject: TinyModel, tokens: Ids, ids: Ids) -> Known:
    """Those of a model of the catalogue, which many decomposers are compared with."""
    return _found(subject.adapter(), torch.tensor(tokens), torch.tensor(ids))


def _found(model: ModelAdapter, tokens: Tensor, ids: Tensor) -> Known:
    found: dict[Key, Tensor] = {}
    for decomposer in _SHIPPED:
        with contextlib.suppress(Exception):  # one that does not fit this model names nothing
            result = attributed(decomposer, model, Logit(ids), tokens)
            found |= {key_of(label): row for label, row in zip(result.parts, result.values, strict=True)}
    return {key: row for key, row in found.items() if key[0] != GROUP}


@lru_cache(maxsize=512)
def _independent(subject: TinyModel, tokens: Ids, ids: Ids) -> Mapping[str, Tensor]:
    batch, width = len(tokens), len(tokens[0])
    size = (-(-_ENOUGH // width), width)
    others = torch.randint(4, subject.adapter().vocabulary.input_size, size, generator=generator(7))
    asked = torch.cat([torch.tensor(ids), torch.zeros_like(others)])
    with contextlib.suppress(ValueError):
        found = expected(subject.model(), torch.cat([torch.tensor(tokens), others]))
        return {label: found.row(label, asked)[:batch] for label in found.vectors}
    return {}


def _listed(ids: Tensor) -> Ids:
    return tuple(tuple(row) for row in ids.tolist())


def above(label: Label, known: Known) -> Iterator[Label]:
    """The parts with a known name that a part is a piece of, the nearest first."""
    yield from (part for part in label.path() if part is not label and key_of(part) in known)


def by_hand(row_kind: RowKind) -> bool:
    """Whether rows on the final norm's frozen scale are what is expected."""
    return row_kind is not RowKind.LENS
