"""Where an attribution comes from, so that it can be looked at more closely: the model is run again for one part."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.base import ModelAdapter
from dla.autocast import autocast_on, refuse_autocast
from dla.decomposers.base import Decomposer, Law
from dla.labels import Label
from dla.passes import Asked, Pass, directions_of, questions_of, run_pass, selection, watch
from dla.plans import Entry, Item, Plan, kept
from dla.streaming import Contraction


@final
@dataclass(frozen=True, eq=False)
class Origin:
    """The model, the plan and the question of an attribution.

    Attributes:
        model: The model, as it was asked.
        plan: What was read of it.
        asked: What was asked.
        scale: The final norm's scale then; None where there is no norm.
        eps: The model's rounding unit.
    """

    model: ModelAdapter
    plan: Plan
    asked: Asked
    scale: Float[Tensor, "batch kept"] | None
    eps: float

    def of_direction(self, i: int) -> "Origin":
        """The same, asked only one of several directions."""
        return replace(self, asked=replace(self.asked, readouts=(self.asked.readouts[i],)))

    def finer(self, label: Label, by: Decomposer) -> tuple["Origin", Pass]:
        """One part in pieces: a plan that has them instead of it, and what each contributes.

        Raises:
            ValueError: If the decomposer has no pieces of that part.
        """
        name = type(by).__name__
        if by.law is not Law.PARTITION:
            raise ValueError(f"The rows of {name} do not add up, so they cannot be the pieces of a part.")
        items = [item for item in by.writes(self.model) if _may_hold_pieces(item, label)]
        if not items:
            raise ValueError(_no_pieces(name, label))
        pieces = Plan(name, tuple(Entry.of(item).then(lambda rows: kept(rows, _below(label))) for item in items))
        run = run_pass(self.model, pieces, self.asked)
        if not run.labels:
            raise ValueError(_no_pieces(name, label))
        rest = self.plan.then(lambda rows: kept(rows, lambda other: other != label), self.plan.adding)
        plan = Plan(f"{self.plan.name} refined by {name}", (*rest.items, *pieces.items), self.plan.adding)
        return replace(self, plan=plan), run

    def vector(self, label: Label) -> Float[Tensor, "batch kept d_model"]:
        """What one part adds to the stream that enters the final norm.

        A part's value is linear in the direction, so its vector is the gradient of the value by the direction. That
        holds for every kind of row, and builds the vector of this one alone.
        """
        refuse_autocast(autocast_on(), self.model.anatomy.unembedding.W_U.device)
        steps = [step for step in self.plan.steps(self.asked.prompts) if step.reductions or label in step.write.labels]
        shape, select = self.asked.positions.index.shape, selection(self.model, self.asked)
        directions = directions_of(questions_of(self.model, self.asked, select))
        directions = directions.detach().expand(-1, *shape, -1).clone().requires_grad_()
        contraction = Contraction(steps, directions, select)
        watch(self.model, self.asked, [contraction.observers()])
        rows = [kept(rows, lambda other: other == label).values.sum() for rows in contraction.rows(*shape)]
        (gradient,) = torch.autograd.grad(torch.stack(rows).sum(), directions)
        vector: Tensor = gradient[0]
        return vector


def _below(label: Label) -> Callable[[Label], bool]:
    return lambda other: other != label and label in other.path()


def _may_hold_pieces(item: Item, label: Label) -> bool:
    if isinstance(item, Entry):
        return label in item.parent.path() or item.parent in label.path()
    return any(map(_below(label), item.labels))


def _no_pieces(name: str, label: Label) -> str:
    return (
        f"{name} has no pieces of {str(label)!r}: none of its labels has it as parent. Pass a decomposer that splits "
        "it, such as NeuronDecomposer() for an MLP; in one of your own, make the labels with parent=..."
    )
