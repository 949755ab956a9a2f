"""From prompts and a question to a query: one model and one decomposer, whose plan is made once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

from torch import Tensor

from dla.adapters.anatomy import Anatomy
from dla.adapters.base import ModelAdapter
from dla.adapters.upstream import up_to
from dla.adapters.view import AdapterView
from dla.decomposers.base import Decomposer, plan_of
from dla.decomposers.plans import Plan
from dla.directions import Continuation, Direction, Directions
from dla.edits import Edit
from dla.edits.planning import EditPlanner, read_edits
from dla.engine.caches import Cache, read_cache, read_prompts_or_cache
from dla.engine.query import Query
from dla.errors import ModelMismatchWarning, UnsupportedModelError, warn_caller
from dla.inputs.given import shown, whole_number
from dla.inputs.positions import Position, Positions, read_positions
from dla.inputs.prompts import Mask, Prompts, Text


@final
class Planner:
    """Poses queries to a model. Their arguments are those of `Attributor.attribute`, and so are their errors."""

    def __init__(self, model: ModelAdapter, decomposer: Decomposer, *, strict: bool) -> None:
        """Makes the plan for the whole model.

        Args:
            model: The model.
            decomposer: How to split the stream.
            strict: Whether a model that is not its checkpoint is refused.
        """
        self._model, self._decomposer, self._strict = model, decomposer, strict
        self._plans: dict[str | None, tuple[Anatomy, ModelAdapter, Plan]] = {}
        self._reported: Anatomy | None = None
        self._planned()

    @property
    def name(self) -> str:
        """The name of the model as it was when the plan was made."""
        return self._plans[None][0].name

    def query(
        self,
        prompts: Text | Tensor | Prompts | None,
        direction: Direction | Directions,
        pos: Position,
        cache: Any,
        attention_mask: Mask,
        prepend_bos: bool | None,
        edits: Sequence[Edit] = (),
    ) -> Query:
        """Prompts as the user gave them, and a direction at some positions of theirs."""
        cache = read_cache(self._model, cache)
        read = read_prompts_or_cache(self._model, prompts, cache, attention_mask, prepend_bos)
        return self.query_at(read, direction, read_positions(pos, read), cache, edits)

    def continued(
        self,
        prompts: Text | Tensor | Prompts | None,
        continuation: Continuation,
        pos: Position,
        cache: Any,
        attention_mask: Mask,
        prepend_bos: bool | None,
        edits: Sequence[Edit],
    ) -> Query:
        """Prompts and an answer behind them, asked about at each of its tokens."""
        if whole_number(pos) != -1:
            raise ValueError(f"pos={shown(pos)}: a Continuation is asked at the tokens of the answer. Leave pos out.")
        cache = read_cache(self._model, cache)
        asked, direction = continuation.posed(prompts, self._model.vocabulary, attention_mask, prepend_bos)
        read = read_prompts_or_cache(self._model, asked.prompts, cache, None, None)
        return replace(self.query_at(read, direction, asked.positions(), cache, edits), summed=True)

    def query_at(
        self,
        read: Prompts,
        direction: Direction | Directions,
        positions: Positions,
        cache: Cache | None,
        edits: Sequence[Edit],
    ) -> Query:
        """Prompts and positions that were read before."""
        edits = read_edits(edits, cache)
        planned = self._planned if cache is not None else EditPlanner(self._planned, read, edits)
        return replace(Query.of(planned, direction, read, positions, cache), tells=True)

    def _report_mismatches(self, anatomy: Anatomy) -> None:
        """Says where the model that runs is not the checkpoint that it was made from."""
        if anatomy is self._reported:
            return
        self._reported = anatomy
        for sentence in anatomy.mismatches:
            if self._strict and not anatomy.compatibility:
                raise UnsupportedModelError(f"{sentence} With check='warn' it is attributed as it runs.")
            warn_caller(sentence, ModelMismatchWarning)

    def _planned(self, at: str | None = None) -> tuple[ModelAdapter, Plan]:
        """The model up to a place, and the decomposer's plan for it; made again only when its weights changed."""
        anatomy = self._model.anatomy
        self._report_mismatches(anatomy)
        known = self._plans.get(at)
        if known is None or known[0] is not anatomy:
            model = AdapterView(self._model, anatomy) if at is None else up_to(self._model, at)
            plan = plan_of(self._decomposer, model)
            known = self._plans[at] = (anatomy, model, plan)
        return known[1:]
