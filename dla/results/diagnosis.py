"""What to say where the rows of an attribution miss the model's own logit."""

import math

import numpy as np
from jaxtyping import Float
from torch import Tensor

from dla.edits.planning import edits_of
from dla.results.attributed import AttributedRows
from dla.results.gaps import edits_by_hooks
from dla.text import some_of

_LOOK_CLOSER = "LayerDecomposer() with check='warn' shows from which layer on."


def diagnosis(result: AttributedRows, excess: Float[Tensor, "*direction_batch_and_pos"]) -> str:
    """Where the rows miss the model's own logit by how much, and why that is likely.

    Args:
        result: The attribution.
        excess: The gap, as a multiple of what is allowed.
    """
    worst = int(excess.flatten().argmax())
    gap, allowed = float(result.gap.flatten()[worst]), float(result.tolerance.flatten()[worst])
    where = dict(zip(result.provenance.dims, np.unravel_index(worst, tuple(excess.shape)), strict=True))
    position = result.positions.expand(excess.shape).flatten()[worst]
    place = f"prompt {int(where.get('batch', 0))}, position {int(position)}"
    direction = int(where.get("direction", 0))
    if "direction" in where:
        place += f", direction {result.directions[direction]!r}"
    assert result.rerun is not None
    rerun = result.rerun.of_direction(direction)
    likely = edits_by_hooks(rerun.query)
    edits = edits_of(rerun.query.model)
    if edits and not likely:
        names = some_of(dict.fromkeys(edit.part for edit in edits))
        likely = (
            f"The run was edited ({names}): a hook may show an activation that the model does not read on, or not "
            "alone, so that an edit of it does not arrive."
        )
    if not math.isfinite(gap):
        return (
            f"The model's logit, or a part of it, is not finite at {place}: a weight, a hook, a direction of huge "
            "numbers or an overflow in half precision makes NaN or infinity of it. "
            f"{likely or _LOOK_CLOSER}"
        )
    return (
        f"The {len(result.parts)} parts of {result.provenance.decomposer} miss the model's logit by {abs(gap):.1e} "
        f"(allowed: {allowed:.1e}), worst at {place}. "
        f"{likely or 'A bias that the model adds is the part most often forgotten;'} "
        "`attributor.explain_gap(prompts, direction)` lists the gap block by block."
    )
