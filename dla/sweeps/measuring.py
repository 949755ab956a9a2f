"""One batch through the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dla.directions import Direction, Logit, LogitDifference
from dla.inputs.prompts import Prompts
from dla.sweeps.fixed import FixedPlan
from dla.sweeps.questions import SweepRow
from dla.sweeps.schema import SUMS


@final
@dataclass(frozen=True, eq=False)
class Measured:
    """What a pass gave for some questions.

    Attributes:
        values: What each part contributes, in logits.
        sums: `SUMS`, one a column.
    """

    values: Float[np.ndarray, "prompt part"]
    sums: Float[np.ndarray, "prompt sum"]

    def at(self, keep: Bool[np.ndarray, " prompt"]) -> "Measured":
        """Some of the prompts."""
        return self if bool(keep.all()) else Measured(self.values[keep], self.sums[keep])

    @staticmethod
    def together(several: Sequence["Measured"]) -> "Measured":
        """Several, one after the other."""
        if len(several) == 1:
            return several[0]
        return Measured(np.concatenate([m.values for m in several]), np.concatenate([m.sums for m in several]))

    @staticmethod
    def nothing(plan: FixedPlan) -> "Measured":
        """Of no question."""
        values = torch.zeros(0, len(plan.labels), dtype=plan.dtype)
        return Measured(values.numpy(), np.zeros((0, len(SUMS))))


def measure(plan: FixedPlan, questions: Sequence[SweepRow]) -> Measured:
    """Runs the model once.

    Args:
        plan: The model and what is read of it.
        questions: At least one; all with an incorrect token, or all without.
    """
    run = plan.measure(direction_of(questions), prompts_of(plan, questions))
    assert tuple(run.labels) == plan.labels, "a plan's labels depend on the prompts, and that was not noticed"
    sums = [run.total, run.constant, run.logit, run.output_logit, run.gap, run.tolerance]
    return Measured(
        values=run.values[:, 0, :, 0].T.cpu().numpy(),
        sums=torch.stack([each[0, :, 0].double() for each in sums], -1).cpu().numpy(),
    )


def faults(measured: Measured, plan: FixedPlan, check: str) -> list[str | None]:
    """What is wrong with each row; None where nothing is."""
    finite = np.isfinite(measured.values).all(1) & np.isfinite(measured.sums).all(1)
    gap, tolerance = (measured.sums[:, SUMS.index(name)] for name in ("gap", "tolerance"))
    missed = (np.abs(gap) > tolerance) if check == "raise" else np.zeros_like(finite)
    return [
        _fault(plan, float(gap[i]), float(tolerance[i]), bool(finite[i])) if missed[i] or not finite[i] else None
        for i in range(len(finite))
    ]


def _fault(plan: FixedPlan, gap: float, tolerance: float, finite: bool) -> str:
    if not finite:
        return "The model's numbers for this prompt are not finite (infinite, or not a number)."
    return (
        f"The {len(plan.labels)} parts of {plan.plan.name} miss the model's logit by {abs(gap):.1e} "
        f"(allowed: {tolerance:.1e}). A bias that the model adds is the part most often forgotten; "
        "`attributor.explain_gap(prompt, direction)` lists the gap block by block."
    )


def direction_of(questions: Sequence[SweepRow]) -> Direction:
    """What some questions ask, all of one kind."""
    answers = torch.tensor([question.answer for question in questions])
    incorrect = [question.incorrect for question in questions if question.incorrect is not None]
    return LogitDifference(answers, torch.tensor(incorrect)) if incorrect else Logit(answers)


def prompts_of(plan: FixedPlan, questions: Sequence[SweepRow]) -> Prompts:
    """The prompts of some questions, in a batch."""
    vocabulary = plan.model.vocabulary
    lengths = tuple(len(question.ids) for question in questions)
    tokens: Tensor = torch.full((len(questions), max(lengths)), vocabulary.pad)
    for row, question in zip(tokens, questions, strict=True):
        row[: len(question.ids)] = torch.from_numpy(question.ids)
    return Prompts(tokens, lengths, vocabulary)
