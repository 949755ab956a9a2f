"""Where an attribution comes from, so that it can be looked at more closely: the model is run again for one part.

A result knows its run by what that run computed. A later question is answered for that run, or refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.base import Observer
from dla.adapters.turns import turn_on
from dla.adapters.user_hooks import UserHook, user_hooks
from dla.decomposers.base import Decomposer, items_of
from dla.decomposers.groups import Grouping, Renaming
from dla.decomposers.pieces import plan_of_pieces
from dla.decomposers.plans import Plan, PromptReduction
from dla.decomposers.rows import RowKind, label_of_sum, rows_where
from dla.engine.autocast import autocast_on, refuse_autocast
from dla.engine.forward import ForwardResult, Unembed, directions_of, forward, logit_reader_of
from dla.engine.query import Query
from dla.errors import RunChangedError
from dla.labels import ROUNDING, Label
from dla.results.part_vectors import PartVectors
from dla.tolerances import RERUN_TOLERANCE, TOLERANCE


@final
@dataclass(frozen=True, eq=False)
class Rerun:
    """The query of an attribution, and by what its run is known again.

    A pickled rerun comes back as None, and a copied one is the same: a result never takes the model with it.

    Attributes:
        query: What was asked of which model.
        scale: The final norm's scale then; None where there is no norm.
        stream: What entered the final norm then; None where there is no norm.
        sketch: By what the stream that was unembedded is known again.
        logit: The model's own answer then.
        tolerance: How much of it is rounding.
        eps: The model's rounding unit.
        hooks: The hooks of the user's that were on the model.
        rounding: The row that holds what is rounded away, if there is such a row.
    """

    query: Query
    scale: Float[Tensor, "batch query"] | None
    stream: Float[Tensor, "batch query d_model"] | None
    sketch: Float[Tensor, "batch query five"]
    logit: Float[Tensor, "direction batch query"]
    tolerance: Float[Tensor, "direction batch query"]
    eps: float
    hooks: tuple[UserHook, ...] = ()
    rounding: Label = field(default_factory=lambda: Label(ROUNDING))

    @staticmethod
    def of(query: Query, result: ForwardResult) -> "Rerun":
        """The rerun of what one pass gave."""
        hooks = () if query.cache is not None else user_hooks(query.model)
        proof = (result.sketch, result.logit, result.tolerance, result.eps, hooks)
        return Rerun(replace(query, tells=False), result.scale, result.stream, *proof)

    def of_direction(self, i: int) -> "Rerun":
        """The same, asked only one of several directions."""
        query = replace(self.query, resolved=(self.query.resolved[i],), names=())
        return replace(self, query=query, logit=self.logit[i : i + 1], tolerance=self.tolerance[i : i + 1])

    def coarser(self, rule: Renaming) -> "Rerun":
        """The same, with rows added up in groups."""
        return self._grouped(Grouping(lambda label: rule(label_of_sum(label))), rule(self.rounding))

    def over_spans(self, reduction: PromptReduction) -> "Rerun":
        """The same, with rows by source added up over spans of the prompts."""
        return self._grouped(reduction, self.rounding)

    def _grouped(self, grouping: Grouping | PromptReduction, rounding: Label) -> "Rerun":
        plan = self.query.plan.then(grouping, add_equal_labels=True)
        plan = replace(plan, groupings=(*plan.groupings, grouping), made_by=())
        return replace(self, query=replace(self.query, plan=plan), rounding=rounding)

    def finer(self, label: Label, by: Decomposer) -> tuple["Rerun", ForwardResult]:
        """One part in pieces: a plan that has them instead of it, and what each contributes.

        Raises:
            ValueError: If the decomposer has no pieces of that part.
            RunChangedError: If the model does not run any more as it did.
        """
        name, plan = type(by).__name__, self.query.plan
        if by.row_kind is not RowKind.ADDITIVE:
            raise ValueError(f"The rows of {name} do not add up, so they cannot be the pieces of a part.")
        self._check_weights()
        pieces = plan_of_pieces(label, plan, items_of(by, self.query.model), self.query.prompts, name)
        run = None if pieces is None else forward(replace(self.query, plan=pieces))
        if pieces is None or run is None or not run.labels:
            raise ValueError(_no_pieces(name, label))
        self._check_run(run.logit, run.sketch)
        rest = plan.then(lambda rows: rows_where(rows, lambda other: other != label), plan.add_equal_labels)
        made_by = (*plan.made_by, (label, by)) if plan.made_by else ()
        finer = replace(
            plan, name=f"{plan.name} refined by {name}", items=(*rest.items, *pieces.items), made_by=made_by
        )
        return replace(self, query=replace(self.query, plan=finer)), run

    def run_of(self, plan: Plan) -> ForwardResult:
        """What another plan finds in the same run.

        Raises:
            RunChangedError: If the model does not run any more as it did.
        """
        self._check_weights()
        run = forward(replace(self.query, plan=plan))
        self._check_run(run.logit, run.sketch)
        return run

    def vector(
        self, label: Label, values: Float[Tensor, "*direction_batch_and_pos"]
    ) -> Float[Tensor, "batch query d_model"]:
        """What one part adds to the stream that enters the final norm; a lens' row, divided by its own scale.

        Args:
            label: The part.
            values: What it contributed, as the result says.

        Raises:
            RunChangedError: If the model does not run any more as it did.
            ValueError: If the part holds what was rounded away.
        """
        return self.vectors([label], values[None])[0]

    @torch.no_grad()
    def vectors(
        self, labels: Sequence[Label], values: Float[Tensor, "part *direction_batch_and_pos"]
    ) -> list[Float[Tensor, "batch query d_model"]]:
        """The same of several parts, in one run.

        Args:
            labels: The parts.
            values: What they contributed, as the result says.

        Raises:
            RunChangedError: If the model does not run any more as it did.
            ValueError: If a part holds what was rounded away.
        """
        for label in labels:
            self._check_is_vector(label)
        vectors = PartVectors(self.query, labels)
        self.again(vectors.observers())
        for label, told in zip(labels, values, strict=True):
            self._check_row(label, vectors.row(label).detach(), told)
        return [vectors.vector(label) for label in labels]

    def again(self, observers: Mapping[str, Observer], unembed: Unembed = Unembed.ALL) -> None:
        """Runs the model once more, and checks that it is the run that the result comes from.

        Args:
            observers: What to call with activations, by hook name.
            unembed: How much the model unembeds.

        Raises:
            RunChangedError: If the model does not run any more as it did.
            ValueError: If autocast would round what is computed.
        """
        refuse_autocast(autocast_on(), self.query.unembedding.W_U.device)
        self._check_weights()
        with turn_on(self.query.model.source):
            readings = logit_reader_of(self.query, directions_of(self.query), unembed).run(observers)
        self._check_run(readings.logit, readings.sketch)

    def once_more(self, also: Mapping[str, Observer]) -> ForwardResult:
        """All rows once more, from a run that is checked to be the one that the result comes from.

        Args:
            also: What else to call with activations, by hook name.

        Raises:
            RunChangedError: If the model does not run any more as it did.
        """
        self._check_weights()
        run = forward(self.query, also=also).with_readout()
        self._check_run(run.logit, run.sketch)
        return run

    def frozen_scale(self) -> Float[Tensor, "batch query"] | None:
        """What the final norm divides `vector` by; 1 where that was done; None where there is no norm."""
        lens = self.query.plan.row_kind is RowKind.LENS
        return torch.ones_like(self.scale) if lens and self.scale is not None else self.scale

    def likely_cause(self) -> str:
        """Why the pieces of a part may miss it, as a sentence."""
        if not self.hooks:
            return "A bias that the part adds is the piece most often forgotten."
        return f"What a hook edits after they were read is in none of them; hooked: {_listed(self.hooks)}."

    def _check_is_vector(self, label: Label) -> None:
        if label == self.rounding and (label.kind == ROUNDING or self.query.unembedding.rounding is not None):
            raise ValueError(
                f"{str(label)!r} holds what many steps of the model round away, also those of the readout; "
                "that is no one vector of the stream. Look at another part."
            )

    def _check_weights(self) -> None:
        if not self.query.model.is_current(self.query.model.anatomy):
            raise RunChangedError(
                "The model's weights, their dtype or device, or its switches are not those of the run that this result "
                "comes from, so that run cannot be looked at more closely. Attribute again."
            )

    def _check_run(
        self, logit: Float[Tensor, "direction batch query"], sketch: Float[Tensor, "batch query five"]
    ) -> None:
        """Whether another run is the one that the result comes from."""
        self._compare("the model's own logit", logit, self.logit, self.tolerance)
        d_model = self.query.unembedding.W_U.shape[0]
        length, *others = self.sketch.unbind(-1)
        allowed = RERUN_TOLERANCE * self.eps * length / d_model**0.5
        for now, then in zip(sketch.unbind(-1), (length, *others), strict=True):
            self._compare("a projection of the final stream", now[None], then[None], allowed[None])

    def _check_row(self, label: Label, row: Tensor, values: Tensor) -> None:
        scale, told = self.frozen_scale(), values.reshape(self.logit.shape)
        row = row if scale is None else row / scale
        allowed = self.tolerance + TOLERANCE * self.eps * told.abs().to(self.tolerance)
        self._compare(f"the value of {str(label)!r}", row, told, allowed)

    def _compare(
        self,
        what: str,
        now: Float[Tensor, "direction batch query"],
        then: Float[Tensor, "direction batch query"],
        allowed: Float[Tensor, "direction batch query"],
    ) -> None:
        difference = (now.to(then) - then).abs()
        changed = ~(difference <= allowed.to(then)) & self.query.positions.valid.to(then.device)
        if not bool(changed.any()):
            return
        where = [int(i) for i in changed.nonzero()[0]]
        before, after = (float(values[tuple(where)]) for values in (then, now))
        place = f"prompt {where[1]}, position {int(self.query.positions.index[where[1], where[2]])}"
        raise RunChangedError(
            f"The model does not run as it ran for this result: at {place} {what} was {before:+.4f} and is now "
            f"{after:+.4f}. {self._cause()} Ask under the same hooks and weights, or attribute again."
        )

    def _cause(self) -> str:
        now = user_hooks(self.query.model)
        if now != self.hooks:
            return f"Its hooks then: {_listed(self.hooks)}; now: {_listed(now)}."
        if now:
            return (
                f"Its hooks are the same ({_listed(now)}); either they do not do the same each time, or it was edited."
            )
        return "No hook is on it; its weights, or what its modules do, were edited."

    def __repr__(self) -> str:
        model, plan, prompts = self.query.model, self.query.plan, self.query.prompts
        return f"Rerun({model.anatomy.name}, {plan.name}, {len(prompts.tokens)} prompts)"

    def __copy__(self) -> "Rerun":
        return self

    def __deepcopy__(self, memo: object) -> "Rerun":
        return self

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _none, ()


def _none() -> None:
    return None


def _listed(hooks: tuple[UserHook, ...]) -> str:
    return ", ".join(map(str, hooks)) or "none"


def _no_pieces(name: str, label: Label) -> str:
    return (
        f"{name} has no pieces of {str(label)!r}: none of its labels has it as parent. Pass a decomposer that splits "
        "it, such as NeuronDecomposer() for an MLP; in one of your own, make the labels with parent=..."
    )
