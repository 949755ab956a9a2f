"""From edits to a model that runs with them, and a plan whose rows add up in that run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import final

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from dla.adapters.base import ModelAdapter
from dla.adapters.turns import turn_on
from dla.adapters.user_hooks import user_hooks
from dla.adapters.view import AdapterView
from dla.decomposers.base import Planned
from dla.decomposers.plans import Plan
from dla.edits.ablations import PromptSource, Written
from dla.edits.edit import Edit
from dla.edits.edited_run import EditedRun, PlacedEdit, keeping
from dla.edits.finding import PlaceFinder
from dla.edits.places import EditPlace
from dla.edits.rows import edit_rows
from dla.inputs.given import items, shown
from dla.inputs.positions import Positions, read_positions
from dla.inputs.prompts import Prompts, read_prompts
from dla.writes import Site

_TOKENS_AT_A_TIME = 2**13
"""How many tokens of an ablation's own prompts run together."""


def read_edits(edits: object, cache: object = None) -> tuple[Edit, ...]:
    """Edits, checked.

    Args:
        edits: The edits.
        cache: The cache that stands in for a run, if there is one.

    Raises:
        TypeError: If they are not a list of `Edit`.
        ValueError: If two are of one part, or there is a cache.
    """
    if isinstance(edits, Edit):
        raise TypeError(f"edits={shown(edits)} is one edit. Pass a list: edits=[...].")
    given = items(edits)
    if given is None or not all(isinstance(edit, Edit) for edit in given):
        wrong = edits if given is None else next(edit for edit in given if not isinstance(edit, Edit))
        raise TypeError(f"{shown(wrong)} is no edit. Pass a list, such as edits=[dla.Edit('L0H0', dla.Zero())].")
    twice = [part for part, count in Counter(str(edit.part) for edit in given).items() if count > 1]
    if twice:
        raise ValueError(
            f"There are two edits of {shown(twice[0])}, and which of them should hold is not clear. Pass one for each "
            "part."
        )
    if given and cache is not None:
        raise ValueError("A cache holds a run without the edits. Leave the cache out, so that the model is run.")
    return tuple(given)


@final
class EditPlanner:
    """Gives the model with edits, and a plan with the rows of what they and the user's hooks add."""

    def __init__(self, planned: Planned, prompts: Prompts, edits: Sequence[Edit] = ()) -> None:
        """Runs nothing yet.

        Args:
            planned: Gives the model and its plan without edits.
            prompts: The prompts that are attributed.
            edits: The edits.
        """
        self._planned, self._prompts, self._edits = planned, prompts, edits
        self._hooks = [hook.names for hook in user_hooks(planned(None)[0])]

    def __call__(self, at: str | None) -> tuple[ModelAdapter, Plan]:
        """The model up to a place of the stream, and its plan; None for all of it.

        Raises:
            ValueError: If there is no such part or position as an edit names.
            UnsupportedModelError: If a part cannot be edited.
        """
        model, plan = self._planned(at)
        edits = self._placed(model, plan) if self._edits else ()
        edited = [*self._hooks, *((edit.place.site.name,) for edit in edits)]
        rows = edit_rows(plan, model.anatomy, self._prompts, edited) if edited else []
        plan = replace(plan, items=(*plan.items, *rows)) if rows else plan
        return (with_edits(model, edits) if edits else model), plan

    def _placed(self, model: ModelAdapter, plan: Plan) -> tuple[PlacedEdit, ...]:
        whole, of_all = self._planned(None)
        # A part may be one of the rows up to the place that is asked about, or written after it.
        steps = (
            plan.steps(self._prompts) if plan is of_all else (plan.steps(self._prompts) + of_all.steps(self._prompts))
        )
        finder, found = PlaceFinder(whole.anatomy, self._prompts, steps), list[PlacedEdit]()
        for edit in self._edits:
            where = positions_mask(read_positions(edit.pos, self._prompts), self._prompts)
            found += placed_at(model, finder.places(str(edit.part)), self._prompts, edit, where)
        return tuple(found)


def with_edits(model: ModelAdapter, edits: Sequence[PlacedEdit], taken: dict[int, Tensor] | None = None) -> AdapterView:
    """A model that runs with edits; those that it has already take place first.

    Args:
        model: The model.
        edits: The edits.
        taken: Where what each edit takes away is put, by its number; those that the model has already come first.
    """
    return AdapterView(_without_edits(model), model.anatomy, run=EditedRun((*edits_of(model), *edits), taken))


def edits_of(model: ModelAdapter) -> Sequence[PlacedEdit]:
    """The edits with which a model runs."""
    known = model.runs if isinstance(model, AdapterView) else None
    return known.edits if isinstance(known, EditedRun) else ()


def _without_edits(model: ModelAdapter) -> ModelAdapter:
    return model.as_it_is if isinstance(model, AdapterView) else model


def placed_at(
    model: ModelAdapter, places: Sequence[EditPlace], prompts: Prompts, edit: Edit, where: Bool[Tensor, "batch pos"]
) -> list[PlacedEdit]:
    """The edits of some places that make up one part.

    Args:
        model: The model.
        places: The places.
        prompts: The prompts that are attributed.
        edit: The edit.
        where: At which positions.
    """
    real, asked = real_positions(prompts), edit.ablation.prompts
    others: Sequence[Written | None] = [None] * len(places)
    if asked is not None:
        texts = asked.prompts() if isinstance(asked, PromptSource) else asked
        others = _written_on(_without_edits(model), read_prompts(texts, model.vocabulary), places)
    return [
        PlacedEdit(str(edit.part), place, edit.ablation, where, real, other)
        for place, other in zip(places, others, strict=True)
    ]


@torch.no_grad()
def _written_on(model: ModelAdapter, prompts: Prompts, places: Sequence[EditPlace]) -> list[Written]:
    """What is written at some places on other prompts, of which some run at a time."""
    sites = [site for place in places for site in (place.site, *place.reads)]
    found: list[list[Tensor]] = [[] for _ in places]
    for tokens in prompts.tokens.split(max(1, _TOKENS_AT_A_TIME // prompts.tokens.shape[1])):
        seen: dict[Site, Tensor] = {}
        with turn_on(model.source):
            # One position is unembedded, since the logits are not asked for.
            model.run(tokens, keeping(seen, sites, tokens.shape), torch.zeros(len(tokens), 1, dtype=torch.long))
        for values, place in zip(found, places, strict=True):
            values.append(place.written(seen[place.site], seen).clone())
    real = real_positions(prompts)
    return [Written(torch.cat(values), real) for values in found]


def real_positions(prompts: Prompts) -> Bool[Tensor, "batch pos"]:
    """Which positions hold a token of the prompt."""
    lengths: Int[Tensor, "batch 1"] = torch.tensor(prompts.lengths, device="cpu").unsqueeze(-1)
    return torch.arange(prompts.tokens.shape[1], device="cpu") < lengths


def positions_mask(positions: Positions, prompts: Prompts) -> Bool[Tensor, "batch pos"]:
    """The positions as a mask."""
    where = torch.zeros(prompts.tokens.shape, dtype=torch.bool, device="cpu")
    for row, index, valid in zip(where, positions.index, positions.valid, strict=True):
        row[index[valid]] = True
    return where
