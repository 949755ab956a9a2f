"""Attributions read from files, alone or with the model that they come from."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dla.adapters import ModelAdapter, adapt
from dla.adapters.fingerprints import differences, identity_of
from dla.adapters.upstream import up_to
from dla.adapters.user_hooks import user_hooks
from dla.adapters.view import AdapterView
from dla.attributor import Attributor
from dla.decomposers.base import Decomposer, plan_of
from dla.decomposers.plans import Plan
from dla.decomposers.recipes import from_recipe, recipe_of
from dla.directions import one_place
from dla.edits.planning import EditPlanner
from dla.engine.autocast import refuse_autocast, without_autocast
from dla.engine.forward import forward
from dla.engine.query import Query
from dla.errors import RunChangedError
from dla.results.attribution import Attribution
from dla.results.question import Question, RowsMadeBy
from dla.results.saved import read_attribution
from dla.text import some_of
from dla.tolerances import TOLERANCE


def load(path: str | Path, *, model: Any = None) -> Attribution:
    """Reads an attribution that `Attribution.save` wrote, and proves again that its rows add up.

    With the model, the result can be refined, traced and asked for effects, as when it was new. The model runs once to
    prove that it is the same, and once more for each row that had been refined.

    Args:
        path: The file.
        model: The model that the result comes from, or an `Attributor` of it, which is needed where the rows are those
            of a decomposer of your own, of dictionaries or of functions. None for the numbers alone.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If `path` is no path.
        FileFormatError: If the file is not one of ours, was cut short or edited, or its rows do not add up any more.
        RunChangedError: If it is another model, or one that computes something else; says what differs.
        ValueError: If the file does not say what was asked: an old one, or one of a trace, an edited run or groups.
        UnsupportedModelError: If the model cannot be attributed exactly.
    """
    told = read_attribution(path)
    if model is None:
        return told
    question = told.question or Question(
        "It was written by an older version, which did not note the model's fingerprint, or from a pickled or grouped "
        "copy of a result."
    )
    if question.cannot:
        raise ValueError(
            f"{str(path)!r} does not say all that is needed to ask the model again. {question.cannot} Without model=, "
            "the file is loaded with its numbers; or attribute again."
        )
    adapter, own = (model.model, model.decomposer) if isinstance(model, Attributor) else (adapt(model), None)
    with without_autocast() as on:
        refuse_autocast(on, adapter.anatomy.unembedding.W_U.device)
        _check_same_model(adapter, question, str(path))
        again = _asked_again(told, question, adapter, own)
        _check_same_numbers(told, question, again, str(path))
    return replace(told, rerun=again.rerun, question=None)


def _check_same_model(adapter: ModelAdapter, question: Question, path: str) -> None:
    assert question.about is not None
    found = list(differences(question.about.model, identity_of(adapter)))
    if found:
        raise RunChangedError(
            f"{path!r} comes from another model: {'; '.join(found)}. Pass the model that it comes from, or attribute "
            "again with this one."
        )


def _asked_again(told: Attribution, question: Question, adapter: ModelAdapter, own: Decomposer | None) -> Attribution:
    """The same question, put to the model: its rows, then those of each part that had been split."""
    assert question.about is not None
    first, *splits = question.about.made_by
    by = _first_decomposer(first, own)
    others = [(step.part, _decomposer(step)) for step in splits]
    prompts, resolved = question.prompts(adapter.vocabulary), question.resolved()
    planner = EditPlanner(partial(_planned, adapter, by), prompts)
    model, plan = planner(one_place(resolved))
    names = tuple(question.about.names)
    query = Query(model, plan, prompts, question.positions(), told.provenance.direction, names, resolved)
    again = Attribution.of(query, forward(query).with_readout())
    for part, decomposer in others:
        again = again.refine(part, by=decomposer)
    return again


def _planned(adapter: ModelAdapter, by: Decomposer, at: str | None) -> tuple[ModelAdapter, Plan]:
    model = AdapterView(adapter, adapter.anatomy) if at is None else up_to(adapter, at)
    return model, plan_of(by, model)


def _first_decomposer(step: RowsMadeBy, own: Decomposer | None) -> Decomposer:
    if own is None:
        return _decomposer(step, f" Pass dla.Attributor(model, {step.name}(...)) with the same one as model=.")
    # Made and told again, so that a file from before a field was there says what its default is.
    there, here = step.recipe and recipe_of(from_recipe(step.recipe)), recipe_of(own)
    if there != here or type(own).__name__ != step.name:
        raise ValueError(
            f"The rows of the file are of {_words(step.name, there)}, and the attributor's decomposer is "
            f"{_words(type(own).__name__, here)}. Pass the model itself, or an attributor with that decomposer."
        )
    return own


def _decomposer(step: RowsMadeBy, instead: str = "") -> Decomposer:
    if step.recipe is None:
        raise ValueError(
            f"The rows are of {step.name}, with a dictionary, a function or a class of your own, which a file does "
            f"not hold.{instead or ' Load the file without model=, or attribute and refine again.'}"
        )
    return from_recipe(step.recipe)


def _words(name: str, recipe: Any) -> str:
    return name if recipe is None else f"{from_recipe(recipe)!r}"


def _check_same_numbers(told: Attribution, question: Question, again: Attribution, path: str) -> None:
    """Whether the model says again what the file says: its logit, and each row."""
    rows = {part: i for i, part in enumerate(again.parts)}
    assert again.rerun is not None and question.about is not None
    gone = [str(part) for part in told.parts if part not in rows]
    if gone:
        raise RunChangedError(
            f"{path!r} has rows that the model does not have now ({some_of(gone)}). {_hooks(question, again)}"
        )
    then = torch.cat([told.logit[None], told.values])
    now = torch.cat([again.logit[None], again.values[[rows[part] for part in told.parts]]]).to(then)
    wrong = _differ(then, now, told.tolerance + TOLERANCE * again.rerun.eps * then.abs())
    if bool(wrong.any()):
        i = int(wrong.flatten(1).any(1).int().argmax())
        place = int(wrong[i].flatten().int().argmax())
        before, after = (float(each[i].flatten()[place]) for each in (then, now))
        what = f"the row {str(told.parts[i - 1])!r}" if i else "the model's own logit"
        raise RunChangedError(
            f"The model does not compute what it computed for {path!r}: {what} was {before:+.4f} and is now "
            f"{after:+.4f}. {_hooks(question, again)}"
        )


def _differ(
    then: Float[Tensor, "part *more"], now: Float[Tensor, "part *more"], allowed: Float[Tensor, "part *more"]
) -> Bool[Tensor, "part *more"]:
    """Where numbers differ by more than rounding; places that a prompt does not have are NaN in both."""
    return ~((then - now).abs() <= allowed.to(then)) & ~(then.isnan() & now.isnan())


def _hooks(question: Question, again: Attribution) -> str:
    assert again.rerun is not None and question.about is not None
    now = ", ".join(map(str, user_hooks(again.rerun.query.model))) or "none"
    return (
        f"Its weights are the same; its hooks then: {', '.join(question.about.hooks) or 'none'}; now: {now}. Ask "
        "under the same hooks, or attribute again."
    )
