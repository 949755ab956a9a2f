"""The stream as it grows from block to block."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Decomposer
from dla.decomposers.rows import RowKind
from dla.labels import Label
from dla.writes import FullOutput, Write


@final
@dataclass(frozen=True)
class LayerDecomposer(Decomposer):
    """The whole stream before each sublayer and at the end: `0_pre`, `0_mid`, `1_pre`, ..., `final_post`.

    Each row is the stream at its own place, read on the final norm's frozen scale, so that the difference of two rows
    is what was written between them and the last row is the total. The rows do not add up. A block without a place
    between attention and MLP (parallel blocks, attention-only models) has no `mid` row.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
    """

    row_kind = RowKind.CUMULATIVE

    def writes(self, model: ModelAdapter) -> Sequence[Write]:
        return streams_of(model)


def streams_of(model: ModelAdapter) -> list[FullOutput]:
    """The stream before each sublayer and at the end."""
    plan: list[FullOutput] = []
    for layer in range(model.n_layers):
        block = model.block(layer)
        plan += [block.resid_pre] if block.resid_mid is None else [block.resid_pre, block.resid_mid]
    last = model.block(model.n_layers - 1).resid_post
    return [*plan, replace(last, label=Label("post", text="final_post"))]
