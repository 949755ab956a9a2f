"""Runs of a model without a part: what the logit really loses, and which later parts make up for it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.user_hooks import user_hooks
from dla.edits import Ablation, Edit
from dla.edits.edited_run import PlacedEdit
from dla.edits.finding import PlaceFinder
from dla.edits.places import Summand
from dla.edits.planning import edits_of, placed_at, positions_mask, real_positions, with_edits
from dla.edits.rows import EDIT, edit_rows
from dla.engine.forward import ForwardResult, forward
from dla.engine.query import Query
from dla.errors import ReconstructionError, UnsupportedModelError
from dla.labels import Label
from dla.results.part_vectors import PartVectors, direction_reads
from dla.results.removal import known_eps
from dla.results.rerun import Rerun
from dla.tolerances import TOLERANCE
from dla.writes import Write


@final
@dataclass(frozen=True, eq=False)
class Removed:
    """What a run without some parts gave. All tensors are in logits.

    Attributes:
        direct: What the logit loses if nothing reacts but the final norm.
        measured: What it loses in the run.
        repairs: What each row writes more than it would if it had not reacted; 0 for the parts themselves.
        norm: What the final norm's scale adds beyond its reaction to the parts alone.
        tolerance: How far rounding may have moved any of them.
    """

    direct: Float[Tensor, "direction batch query"]
    measured: Float[Tensor, "direction batch query"]
    repairs: Float[Tensor, "row direction batch query"]
    norm: Float[Tensor, "direction batch query"]
    tolerance: Float[Tensor, "direction batch query"]


@final
class Remover:
    """The run of an attribution, and runs of the same model without some of its parts."""

    @torch.no_grad()
    def __init__(self, rerun: Rerun, parts: Sequence[Label]) -> None:
        """Runs the model once, and finds the vectors of the parts that will be removed.

        Args:
            rerun: Where the attribution comes from.
            parts: The parts.

        Raises:
            RunChangedError: If the model does not run any more as it did.
        """
        query = self._query = rerun.query
        self._finder = PlaceFinder(query.model.anatomy, query.prompts, query.plan.steps(query.prompts))
        self._hooked = [hook.names for hook in user_hooks(query.model)]
        vectors = PartVectors(query, parts)
        self._base = rerun.once_more(vectors.observers())
        self._vectors = {label: vectors.vector(label) for label in parts}

    @property
    def labels(self) -> Sequence[Label]:
        """The rows of the run with all parts."""
        return self._base.labels

    @torch.no_grad()
    def without(self, parts: Sequence[Label], ablation: Ablation, everywhere: bool) -> Removed:
        """One run without some of the parts that were looked at.

        Args:
            parts: The parts, all of them at once.
            ablation: What stands in their place.
            everywhere: Whether at all positions, or only at those that were asked about.

        Raises:
            ReconstructionError: If the rows of that run miss its logit.
            UnsupportedModelError: If a part cannot be edited.
            ValueError: If the ablation does not fit a part.
        """
        edits, taken = self._edits(parts, ablation, everywhere), dict[int, Tensor]()
        query = self._edited(edits, taken)
        items = query.plan.items[len(self._query.plan.items) :]
        added = [label for item in items if isinstance(item, Write) for label in item.labels]
        there = PartVectors(query, [*parts, *added])
        run = forward(query, also=there.observers()).with_readout()
        self._check(run, parts)
        if any(_is_encoded(edit) for edit in edits):
            lost = self._taken(edits, taken, parts)
        else:
            now = torch.stack([there.vector(label) for label in (*parts, *added)]).sum(0)
            lost = torch.stack([self._vectors[label] for label in parts]).sum(0).double() - now
        return self._compared(run, parts, lost)

    def _edits(self, parts: Sequence[Label], ablation: Ablation, everywhere: bool) -> list[PlacedEdit]:
        query = self._query
        where = real_positions(query.prompts) if everywhere else positions_mask(query.positions, query.prompts)
        edits: list[PlacedEdit] = []
        for part in parts:
            places = self._finder.places(str(part))
            edits += placed_at(query.model, places, query.prompts, Edit(str(part), ablation), where)
        return edits

    def _edited(self, edits: Sequence[PlacedEdit], taken: dict[int, Tensor]) -> Query:
        query = self._query
        names = [*self._hooked, *((edit.place.site.name,) for edit in edits)]
        rows = edit_rows(query.plan, query.model.anatomy, query.prompts, names)
        plan = replace(query.plan, items=(*query.plan.items, *rows))
        return replace(query, model=with_edits(query.model, edits, taken), plan=plan)

    def _taken(
        self, edits: Sequence[PlacedEdit], taken: dict[int, Tensor], parts: Sequence[Label]
    ) -> Float[Tensor, "batch query d_model"]:
        """What was taken out of outputs: a dictionary encodes what is left anew, so that rows do not say it."""
        if not all(_is_encoded(edit) for edit in edits):
            raise UnsupportedModelError(
                f"{_named(parts)} are features and other parts. Take the features away by themselves."
            )
        select, first = self._query.select, len(edits_of(self._query.model))
        lost = [
            select.rows_of(taken[first + i], 1).double() * edit.place.multiplier
            for i, edit in enumerate(edits)
            if isinstance(edit.place, Summand)
        ]
        return torch.stack(lost).sum(0)

    def _compared(
        self, run: ForwardResult, parts: Sequence[Label], lost: Float[Tensor, "batch query d_model"]
    ) -> Removed:
        """Effects and repairs, in float64: the difference of two runs is small next to what either holds.

        With `σ` the scale with all parts, `σ'` that of the run and `σ_D` that of the stream without the parts alone:
        a row that contributes `a` and in the run `b` repairs `b - a σ / σ'`, and the norm the rest.
        """
        base, values = self._base, self._base.values.double()
        rows, added = self._rows_of(run, parts)
        total = values.sum(0)
        read, removed, direct_ratio, ratio = self._scales(run, lost)
        direct = removed + (direct_ratio - 1) * (removed - read)
        measured = base.logit.double() - run.logit.double()
        repairs = rows - values * ratio
        # What the parts do themselves is no repair: nothing, but for features, which are encoded anew.
        own = [base.labels.index(label) for label in parts]
        rest = repairs[own].sum(0) + added + removed * ratio
        repairs[own] = 0.0
        repairs[own[0]] = rest
        norm = (total - removed) * ratio - (read - removed) * direct_ratio - (total - read)
        tolerance = base.tolerance.double() + run.tolerance.double()
        tolerance = tolerance + TOLERANCE * base.eps * direct_ratio * (removed.abs() + read.abs())
        self._check_sum(direct - measured, repairs.sum(0) + norm, tolerance, parts)
        return Removed(direct, measured, repairs, norm, tolerance)

    def _rows_of(
        self, run: ForwardResult, parts: Sequence[Label]
    ) -> tuple[Float[Tensor, "row direction batch query"], Float[Tensor, "direction batch query"]]:
        """The rows of the run, in the order of those with all parts; and what the edits add beside them."""
        known = self._base.labels
        places = {label: i for i, label in enumerate(run.labels) if label.kind != EDIT or label in known}
        if set(places) != set(known):
            other = next(iter(set(places) ^ set(known)))
            raise ValueError(
                f"Which rows there are depends on their values: {str(other)!r} is one of the run with "
                f"{_named(parts)} or of that without, not of both. Take a decomposer that shows all, or group them."
            )
        others = [i for i, label in enumerate(run.labels) if label not in places]
        values = run.values.double()
        return values[[places[label] for label in known]], values[others].sum(0)

    def _scales(self, run: ForwardResult, lost: Float[Tensor, "batch query d_model"]) -> tuple[Tensor, ...]:
        """What the directions read of the stream and of what is lost, and the scale divided by two others.

        The first of these is that of the stream without what is lost, the second that of the run.
        """
        base, norm = self._base, self._query.unembedding.norm
        reads = direction_reads(self._query).double()
        removed = torch.linalg.vecdot(reads, lost.to(reads))
        if norm is None or base.stream is None or base.scale is None or run.scale is None:
            one = torch.ones_like(removed[0])
            return base.values.double().sum(0), removed, one, one
        scale, stream, _ = base.scale.double(), base.stream.double(), known_eps(norm)
        read = torch.linalg.vecdot(reads, stream) / scale
        reaction = norm.scale_of(stream) / norm.scale_of(stream - lost.to(stream))
        return read, removed / scale, reaction, scale / run.scale.double()

    def _check(self, run: ForwardResult, parts: Sequence[Label]) -> None:
        gap = self._asked(run.gap.abs())
        if not bool((gap <= self._asked(run.tolerance)).all()):
            raise ReconstructionError(
                f"Without {_named(parts)} the rows miss the model's logit by {float(gap.max()):.1e}: what "
                "the edit changes is not what the rows read. Remove the sublayer that it is a piece of."
            )

    def _check_sum(
        self,
        repaired: Float[Tensor, "direction batch query"],
        pieces: Float[Tensor, "direction batch query"],
        tolerance: Float[Tensor, "direction batch query"],
        parts: Sequence[Label],
    ) -> None:
        gap = self._asked((repaired - pieces).abs())
        if not bool((gap <= self._asked(tolerance)).all()):
            raise ReconstructionError(
                f"The repairs of {_named(parts)} miss the difference of the two runs by {float(gap.max()):.1e}, more "
                "than rounding explains."
            )

    def _asked(self, numbers: Float[Tensor, "direction batch query"]) -> Float[Tensor, "direction asked"]:
        """Without the positions that a prompt does not have."""
        return numbers[:, self._query.positions.valid.to(numbers.device)]


def _is_encoded(edit: PlacedEdit) -> bool:
    """Whether what it takes away is computed from the very activation that it edits."""
    place = edit.place
    return isinstance(place, Summand) and any(site.name == place.site.name for site in place.write.reads)


def _named(parts: Sequence[Label]) -> str:
    return " and ".join(repr(str(part)) for part in parts)
