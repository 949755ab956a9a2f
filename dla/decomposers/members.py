"""Which parts of a write the rows of a step are the sums of."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dla.decomposers.plans import PlanStep
from dla.decomposers.rows import Rows
from dla.labels import Label


def members(rows: Rows, of: Float[Tensor, "*direction part #batch #pos"]) -> list[list[int]]:
    """The parts that each row is the sum of.

    Args:
        rows: The rows, `[part direction batch pos]`, as functions of the values.
        of: The values, from which gradients flow to the rows.
    """
    # Rows are sums of values, so the derivative of row `i` times `i + 1` says where each value went; 0 is nowhere.
    places = torch.arange(1, len(rows.labels) + 1, dtype=rows.values.dtype, device=rows.values.device)
    (found,) = torch.autograd.grad(rows.values[:, 0, 0, 0] @ places, of, retain_graph=True)
    parts: list[list[int]] = [[] for _ in rows.labels]
    for part, place in enumerate(found.movedim(-3, 0).flatten(1).sum(1).round().long().tolist()):
        if place:
            parts[place - 1].append(part)
    return parts


def parts_of_rows(step: PlanStep) -> dict[Label, Sequence[int]]:
    """The parts that each row of a step is the sum of; empty where that depends on their values, as in a top k."""
    if not step.reductions:
        return {label: (i,) for i, label in enumerate(step.write.labels)}
    with torch.enable_grad():
        first, second = (_parts_with(step, rising) for rising in (True, False))
    return first if first == second else {}


def _parts_with(step: PlanStep, rising: bool) -> dict[Label, Sequence[int]]:
    sizes = torch.arange(1.0, len(step.write.labels) + 1, dtype=torch.float64, device="cpu")
    values = (sizes if rising else sizes.flip(0))[None, :, None, None].requires_grad_()
    rows = step.reduced(values.movedim(-3, 0))
    return dict(zip(rows.labels, map(tuple, members(rows, values)), strict=True)) if rows.labels else {}
