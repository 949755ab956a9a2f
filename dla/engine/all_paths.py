"""What reads each part through all paths: the steps of a plan, each met on the way back from the end of the stream."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Decomposer, plan_of
from dla.decomposers.plans import PlanStep
from dla.decomposers.rows import RowKind
from dla.engine.back import Walk, Walked, place_at
from dla.engine.frozen import FrozenRun
from dla.engine.query import Query
from dla.engine.rules import Rule
from dla.engine.shown import Shown
from dla.engine.traced import shown_by_site
from dla.engine.traced_features import Key, shown_of
from dla.labels import Label
from dla.writes import Features

Home = tuple[int, int]
"""Where a part is written: the layer, and the number of the sublayer in it."""

EMBEDDINGS: Home = (-1, 0)
"""Where the embeddings are written: before all sublayers."""


@final
@dataclass(frozen=True, eq=False)
class Met:
    """A step of a plan, and what reads its parts.

    Attributes:
        step: The step.
        home: Where its parts are written.
        shown: What its parts are linear in.
        direction: What reads them through all paths, in the units of the final stream.
    """

    step: PlanStep
    home: Home
    shown: dict[Key, Shown]
    direction: Float[Tensor, "batch pos d_model"]


@final
class AllPaths:
    """All parts of a decomposition, on the way back from the end of the stream to the embeddings.

    Attributes:
        start: The embeddings, where the way ends.
    """

    def __init__(self, query: Query, by: Decomposer, rule: Rule | None) -> None:
        """Plans the way; nothing runs.

        Args:
            query: What was asked.
            by: What the parts are.
            rule: How gated MLPs are read as linear.

        Raises:
            TypeError: If the rule is none.
            UnsupportedModelError: If the adapter does not say what sublayers read.
            ValueError: If the rule does not fit, or rows do not add up, depend on values, or are of several sublayers.
        """
        plan = plan_of(by, query.model)
        if plan.row_kind is not RowKind.ADDITIVE:
            raise ValueError(f"The rows of {plan.name} do not add up, so nothing can be traced to them.")
        self._homes = homes_of(query.model)
        self.start = place_at(query.model, "tokens")
        self._walk = Walk(query.model, self.start, rule)
        steps = [step for step in plan.steps(query.prompts) if not step.adds]
        by_site = shown_by_site(query.model)
        self._steps = [
            (step, _home(step, self._homes, plan.name), shown_of(step.write, query.model, by_site)) for step in steps
        ]

    def names(self) -> set[str]:
        """The hooks that are read."""
        own = {site.name for step, _, _ in self._steps for site in step.write.reads}
        return (
            self._walk.names()
            | own
            | {site.name for *_, shown in self._steps for each in shown.values() for site in each.sites}
        )

    def meet(self, end: Float[Tensor, "batch pos d_model"], run: FrozenRun) -> tuple[list[Met], Walked]:
        """Every step with what reads its parts, in the order of the plan, and what was found at the embeddings.

        Args:
            end: What reads the end of the stream.
            run: A run that shows what `names` says.
        """
        directions: dict[Home, Tensor] = {}

        def remember(sublayer: Label, direction: Float[Tensor, "batch pos d_model"]) -> None:
            directions[self._homes[sublayer]] = direction

        walked = self._walk.back(end, run, remember)
        directions[EMBEDDINGS] = walked.direction
        return [Met(step, home, shown, directions[home]) for step, home, shown in self._steps], walked


def homes_of(model: ModelAdapter) -> dict[Label, Home]:
    """Where each sublayer is written."""
    return {
        sublayer.write.labels[0]: (layer, k)
        for layer, block in enumerate(model.anatomy.blocks)
        for k, sublayer in enumerate(block.sublayers)
    }


def _home(step: PlanStep, homes: Mapping[Label, Home], name: str) -> Home:
    found = {
        next((homes[above] for above in label.path() if above in homes), EMBEDDINGS) for label in step.write.labels
    }
    of_stream = isinstance(step.write, Features) and step.write.weight is None and EMBEDDINGS in found
    if len(found) > 1 or step.reductions or of_stream:
        raise ValueError(
            f"Rows of {name} are sums of several parts, or depend on their values ({step.write.labels[0]}), so they "
            "are written at no one place. Pass a decomposer such as HeadDecomposer()."
        )
    return found.pop()
