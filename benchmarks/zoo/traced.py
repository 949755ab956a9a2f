"""How far a number is followed back through one model, and whether that is exact.

A logit: through which sublayers. An attention score: of how many layers' heads.
"""

from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

import dla
from dla.adapters.reads import ExpertReads, NeuronReads
from dla.testing.laws.traces import fitting_rule

ATTENTION, MLPS, SCORES = "attention", "MLPs", "scores"


@final
@dataclass(frozen=True)
class Traced:
    """What is followed back of one kind.

    Attributes:
        through: How many sublayers a direction is pulled back through, or in how many layers a head's scores are split.
        of: How many there are.
        reasons: Why not the others.
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


def scored(result: dla.Attribution) -> tuple[Traced | None, float]:
    """Whether the attention scores of the first head of each layer are split, and the largest gap as a share of them.

    Args:
        result: An attribution by head of the last position of twelve.

    Returns:
        None where no layer has rows for heads.
    """
    first = {part.layer: part for part in reversed(result.parts) if part.kind == "head"}
    gap, reasons = 0.0, []
    for part in reversed(first.values()):
        try:
            score = result.part(part).attention(11, 10)
        except dla.UnsupportedModelError as error:
            reasons.append(str(error).replace(str(part), "the head"))
        else:
            size = float((score.values.abs().sum((0, 1)) + score.constant.abs()).max())
            gap = max(gap, float(score.gap.abs().max()) / max(size, 1.0))
    if not first:
        return None, gap
    return Traced(len(first) - len(reasons), len(first), tuple(dict.fromkeys(map(_without_layer, reasons)))), gap


def _without_layer(reason: str) -> str:
    """A reason that is the same in every block."""
    words = (word.split(".", 2)[2] if word.startswith("blocks.") else word for word in reason.split())
    return " ".join(words)
