"""Asking: directions resolved, after one more pass where they depend on what the model answers."""

from dataclasses import replace
from typing import Any

from dla.adapters.base import ModelAdapter
from dla.directions import Direction, Directions, one_place
from dla.engine.forward import Query, answers_of
from dla.inputs.prompts import AnswersNeeded, Positions, Prompts


def ask(
    model: ModelAdapter,
    direction: Direction | Directions,
    prompts: Prompts,
    positions: Positions,
    cache: Any,
) -> tuple[Query, tuple[str, ...]]:
    """What is asked, settled, and the names of several directions.

    Raises:
        ValueError: If a direction does not fit the prompts, or two read different places of the stream.
    """
    try:
        return _settled(direction, Query(prompts, positions, (), cache))
    except AnswersNeeded:
        query = Query(prompts, positions, (), cache)
        prompts = replace(prompts, answers=answers_of(model, query))
        return _settled(direction, replace(query, prompts=prompts))


def _settled(direction: Direction | Directions, query: Query) -> tuple[Query, tuple[str, ...]]:
    if isinstance(direction, Direction):
        return replace(query, resolved=(direction.resolve(query.prompts, query.positions),)), ()
    named = direction.named(query.prompts, query.positions)
    resolved = tuple(one.resolve(query.prompts, query.positions) for one in named.values())
    one_place(resolved)
    return replace(query, resolved=resolved), tuple(named)
