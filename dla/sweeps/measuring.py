"""One batch through the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dla.sweeps.layout import SUM_COLUMNS
from dla.sweeps.static_plan import StaticPlan
from dla.sweeps.sweep_rows import SweepRow


@final
@dataclass(frozen=True, eq=False)
class Measurement:
    """What a pass gave for some rows.

    Attributes:
        values: What each part contributes, in logits.
        sums: One column per name in `SUM_COLUMNS`, in logits.
    """

    values: Float[np.ndarray, "prompt part"]
    sums: Float[np.ndarray, "prompt sum"]

    def at(self, keep: Bool[np.ndarray, " prompt"]) -> "Measurement":
        """Those of some rows."""
        return Measurement(self.values[keep], self.sums[keep])

    @staticmethod
    def together(several: Sequence["Measurement"]) -> "Measurement":
        """The rows of several, one after the other."""
        return Measurement(np.concatenate([m.values for m in several]), np.concatenate([m.sums for m in several]))

    @staticmethod
    def nothing(plan: StaticPlan) -> "Measurement":
        """Of no row."""
        values = torch.zeros(0, len(plan.labels), dtype=plan.dtype)
        return Measurement(values.numpy(), np.zeros((0, len(SUM_COLUMNS))))


def measure(plan: StaticPlan, rows: Sequence[SweepRow]) -> Measurement:
    """Runs the model once.

    Args:
        plan: The model and what is read of it.
        rows: At least one.
    """
    direction, prompts, positions = plan.question.posed(rows, plan.model.vocabulary)
    run = plan.measure(direction, prompts, positions)
    assert tuple(run.labels) == plan.labels, "a plan's labels depend on the prompts, and that was not noticed"
    there = positions.valid.to(run.values.device)
    sums = [run.total, run.constant, run.logit, run.output_logit, run.gap, run.tolerance]
    return Measurement(
        values=_over_tokens(run.values[:, 0], there).T.cpu().numpy(),
        sums=torch.stack([_over_tokens(each[0].double(), there) for each in sums], -1).cpu().numpy(),
    )


def _over_tokens(
    values: Float[Tensor, "*part prompt query"], there: Bool[Tensor, "prompt query"]
) -> Float[Tensor, "*part prompt"]:
    """The sum over the tokens of an answer; where one token is asked about, its number."""
    return values[..., 0] if values.shape[-1] == 1 else values.masked_fill(~there, 0.0).sum(-1)


def faults(measured: Measurement, plan: StaticPlan, check: str) -> list[str]:
    """What is wrong with each row; empty where nothing is.

    Args:
        measured: The rows.
        plan: The model and what is read of it.
        check: "raise" where a row is wrong whose parts miss the model's logit.
    """
    finite = np.isfinite(measured.values).all(1) & np.isfinite(measured.sums).all(1)
    gap, tolerance = (measured.sums[:, SUM_COLUMNS.index(name)] for name in ("gap", "tolerance"))
    missed = (np.abs(gap) > tolerance) if check == "raise" else np.zeros_like(finite)
    return [
        _fault(plan, float(gap[i]), float(tolerance[i]), bool(finite[i])) if missed[i] or not finite[i] else ""
        for i in range(len(finite))
    ]


def _fault(plan: StaticPlan, gap: float, tolerance: float, finite: bool) -> str:
    if not finite:
        return "The model's numbers for this prompt are not finite (infinite, or not a number)."
    return (
        f"The {len(plan.labels)} parts of {plan.plan.name} miss the model's logit by {abs(gap):.1e} "
        f"(allowed: {tolerance:.1e}). A bias that the model adds is the part most often forgotten; "
        "`attributor.explain_gap(prompt, direction)` lists the gap block by block."
    )
