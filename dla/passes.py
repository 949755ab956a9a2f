"""One pass: a plan, a direction and prompts go in, one number a part comes out, beside what the model itself says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.anatomy import Anatomy
from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Law
from dla.directions import Direction
from dla.prompts import Positions, Prompts
from dla.readings import Question
from dla.streaming import Contraction, Selection, replay
from dla.writes import Write

TOLERANCE = 8.0
"""How many rounding units, of the size of the numbers that cancel, the parts may miss the logit by.

`Attribution.tolerance` is in these units: `gap / tolerance` is far below 1 on the catalogue's architectures.
"""


@final
@dataclass(frozen=True, eq=False)
class Pass:
    """What one pass gave, with all its axes.

    Attributes:
        values: The contribution of each part, in logits.
        constant: `β · W_U + b_U`.
        logit: The model's own answer before its output transform.
        output_logit: The model's own answer after it.
        magnitude: How large the numbers are that cancel in the answer.
        positions: Which positions were asked for.
        batched: Whether there is a batch axis; a cache may lack it.
        eps: The model's rounding unit.
    """

    values: Float[Tensor, "part batch kept"]
    constant: Float[Tensor, "batch kept"]
    logit: Float[Tensor, "batch kept"]
    output_logit: Float[Tensor, "batch kept"]
    magnitude: Float[Tensor, "batch kept"]
    positions: Positions
    batched: bool
    eps: float

    def total(self, law: Law) -> Float[Tensor, "batch kept"]:
        """What the parts come to, as the law says, summed in float64."""
        whole = self.values.double()
        return (whole.sum(0) if law is Law.PARTITION else whole[-1]).to(self.values)

    def tolerance(self, law: Law) -> Float[Tensor, "batch kept"]:
        """`TOLERANCE * eps * (Σ|part| + |constant| + Σ|weighted logit| + |direction| · rms(normalised stream))`."""
        sizes = self.values.abs()
        parts = sizes.sum(0) if law is Law.PARTITION else sizes.amax(0)
        return TOLERANCE * self.eps * (parts + self.magnitude)

    @property
    def dims(self) -> tuple[str, ...]:
        """The names of the axes that `shaped` leaves."""
        there = {"batch": self.batched, "position": not self.positions.single}
        return tuple(name for name, kept in there.items() if kept)

    def shaped(self, tensor: Tensor) -> Tensor:
        """NaN where a prompt has no such position; without the axes that were not asked for."""
        if tensor.is_floating_point():
            tensor = tensor.masked_fill(~self.positions.valid.to(tensor.device), torch.nan)
        tensor = tensor.squeeze(-1) if self.positions.single else tensor
        return tensor if self.batched else tensor.squeeze(-1 if self.positions.single else -2)


@torch.no_grad()
def run_pass(
    model: ModelAdapter,
    anatomy: Anatomy,
    plan: Sequence[Write],
    direction: Direction,
    prompts: Prompts,
    positions: Positions,
    cache: Any,
) -> Pass:
    """Runs the model once, or goes over a cache, without gradients.

    Args:
        model: The model.
        anatomy: What it is made of.
        plan: The writes.
        direction: What is asked.
        prompts: The prompts.
        positions: The positions asked about.
        cache: An `ActivationCache` to use instead of running, or None.
    """
    width, kept = prompts.tokens.shape[1], positions.index.shape[1]
    dtype = torch.promote_types(anatomy.unembedding.W_U.dtype, torch.float32)
    select = Selection(positions.index, width, positions.everything, dtype)
    question = Question(direction.readout(prompts, positions), anatomy.unembedding, select)
    contraction = Contraction(plan, question.direction(), select)
    observe = _merged([contraction.observers(), question.observers()])
    if cache is None:
        logits = model.run(prompts.tokens, observe, positions.index if kept < width else None)
    else:
        replay(cache, observe)
        logits = None
    values, scale = contraction.values(prompts.batch, kept), question.scale()
    return Pass(
        values=values if scale is None else values / scale,
        constant=question.constant().expand(prompts.batch, kept),
        logit=question.answer(),
        output_logit=question.transformed_answer(logits),
        magnitude=question.magnitude(),
        positions=positions,
        batched=cache is None or cache.has_batch_dim,
        eps=anatomy.eps,
    )


def _merged(groups: Sequence[Mapping[str, Callable[[Tensor], None]]]) -> dict[str, Callable[[Tensor], None]]:
    """One observer a hook name, calling all that were asked for."""
    names = dict.fromkeys(name for group in groups for name in group)
    return {name: _in_turn([group[name] for group in groups if name in group]) for name in names}


def _in_turn(calls: Sequence[Callable[[Tensor], None]]) -> Callable[[Tensor], None]:
    def observe(activation: Tensor) -> None:
        for call in calls:
            call(activation)

    return calls[0] if len(calls) == 1 else observe
