"""How far a logit is followed back through one model: through which of its sublayers, and whether that is exact."""

from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

import dla
from dla.adapters.reads import ExpertReads, NeuronReads
from dla.testing.laws.traces import fitting_rule

ATTENTION, MLPS = "attention", "MLPs"


@final
@dataclass(frozen=True)
class Traced:
    """What is traced of the sublayers of one kind.

    Attributes:
        through: How many of them a direction is pulled back through.
        of: How many there are.
        reasons: Why not through the others.
    """

    through: int
    of: int
    reasons: tuple[str, ...]


def traced(model: Any) -> dict[str, Traced]:
    """Which sublayers of a model are traced, by kind; a kind that it lacks is left out."""
    adapter = dla.adapt(model)
    reads = adapter.reads or ()
    found: dict[str, list[Any]] = {ATTENTION: [], MLPS: []}
    for block, of_block in zip(adapter.anatomy.blocks, reads, strict=True):
        for sublayer, read in zip(block.sublayers, of_block, strict=True):
            mlp = isinstance(read, NeuronReads | ExpertReads) or str(sublayer.write.labels[0]).endswith(
                ("mlp_out", "moe_out")
            )
            found[MLPS if mlp else ATTENTION].append(read)
    return {
        kind: Traced(
            sum(not isinstance(read, str) for read in of_kind),
            len(of_kind),
            tuple(dict.fromkeys(_without_layer(read) for read in of_kind if isinstance(read, str))),
        )
        for kind, of_kind in found.items()
        if of_kind
    }


def gap_traced_back(result: dla.Attribution, model: Any) -> Tensor:
    """By how much what stood at the embeddings, biases and leaves miss the logit at the last position."""
    rules = [fitting_rule(read) for of_block in dla.adapt(model).reads or () for read in of_block]
    gap: Tensor = result.trace_back(rule=next(filter(None, rules), None), pos=-1).gap
    return gap


def _without_layer(reason: str) -> str:
    """A reason that is the same in every block."""
    words = (word.split(".", 2)[2] if word.startswith("blocks.") else word for word in reason.split())
    return " ".join(words)
