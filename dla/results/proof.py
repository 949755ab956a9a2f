"""The proof of an attribution in words: its title, and the lines below its rows."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.decomposers.plans import RowKind
from dla.provenance import Provenance


@runtime_checkable
class Proven(Protocol):
    """What these lines need of an `Attribution`, each as it is described there."""

    @property
    def total(self) -> Float[Tensor, "*direction_batch_and_pos"]: ...

    @property
    def constant(self) -> Float[Tensor, "*direction_batch_and_pos"]: ...

    @property
    def logit(self) -> Float[Tensor, "*direction_batch_and_pos"]: ...

    @property
    def gap(self) -> Float[Tensor, "*direction_batch_and_pos"]: ...

    @property
    def positions(self) -> Int[Tensor, "*batch_and_pos"]: ...

    @property
    def provenance(self) -> Provenance: ...


def title_of(result: Proven) -> str:
    """What was asked, how it was split, and over how much the printed numbers are averaged."""
    provenance = result.provenance
    what = f"{provenance.direction}, {provenance.decomposer}"
    count = int((result.positions >= 0).sum())
    return what if count == 1 else f"{what}, mean over {count} positions of {len(provenance.tokens)} prompts"


def proof_of(result: Proven) -> list[tuple[str, float]]:
    """What the rows come to, what was measured, and how far apart the two are."""
    additive = result.provenance.row_kind == RowKind.ADDITIVE.value
    return [
        ("sum of the parts" if additive else "the last row", _mean(result.total)),
        ("constant", _mean(result.constant)),
        ("the row as measured" if result.provenance.traced else "the model's own logit", _mean(result.logit)),
        ("largest gap", float(result.gap.abs().nan_to_num().max())),
    ]


def _mean(values: Float[Tensor, "*more"]) -> float:
    return float(values.to(torch.float64).nanmean())
