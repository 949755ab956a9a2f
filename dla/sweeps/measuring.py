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
        worst: The gap and the tolerance at the token of an answer that comes off worst; elsewhere those of `sums`.
    """

    values: Float[np.ndarray, "prompt part"]
    sums: Float[np.ndarray, "prompt sum"]
    worst: Float[np.ndarray, "prompt 2"]

    def at(self, keep: Bool[np.ndarray, " prompt"]) -> "Measurement":
        """Those of some rows."""
        return Measurement(self.values[keep], self.sums[keep], self.worst[keep])

    @staticmethod
    def together(several: Sequence["Measurement"]) -> "Measurement":
        """The rows of several, one after the other."""
        values, sums, worst = zip(*((each.values, each.sums, each.worst) for each in several), strict=True)
        return Measurement(np.concatenate(values), np.concatenate(sums), np.concatenate(worst))

    @staticmethod
    def nothing(plan: StaticPlan) -> "Measurement":
        """Of no row."""
        values = torch.zeros(0, len(plan.labels), dtype=plan.dtype)
        return Measurement(values.numpy(), np.zeros((0, len(SUM_COLUMNS))), np.zeros((0, 2)))


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
        worst=_worst(run.gap[0].double(), run.tolerance[0].double(), there).cpu().numpy(),
    )


def _worst(
    gap: Float[Tensor, "prompt query"], tolerance: Float[Tensor, "prompt query"], there: Bool[Tensor, "prompt query"]
) -> Float[Tensor, "prompt 2"]:
    """The gap and the tolerance of each prompt at the token whose gap is the largest share of what is allowed.

    Of an answer of several tokens, what one misses another may have too much: their sum proves nothing.
    """
    share = (gap.abs() / tolerance).nan_to_num(0.0, posinf=torch.inf).masked_fill(~there, -1.0)
    place = share.argmax(-1, keepdim=True)
    return torch.cat([each.gather(-1, place) for each in (gap, tolerance)], -1)


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
    gap, tolerance = measured.worst.T
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
