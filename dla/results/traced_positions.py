"""Which positions of a result are traced, and at which the traced parts read."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool
from torch import Tensor

from dla.engine.frozen import FrozenRun
from dla.engine.query import Query
from dla.engine.shown import Shown
from dla.engine.traced_features import moves
from dla.inputs.given import shown as told
from dla.inputs.given import whole_number
from dla.inputs.positions import Positions
from dla.labels import Label
from dla.text import some_of

if TYPE_CHECKING:
    Pos = int | None
else:  # what is passed is looked at here, and a sentence says what is wrong with it
    Pos = object


def positions_read(
    query: Query, labels: Sequence[Label], used: Sequence[Shown], asked: Bool[Tensor, "batch query"], run: FrozenRun
) -> Positions:
    """Where a row was read: an MLP where it wrote, a source where it stands, a head anywhere."""
    sources = {label.source for label in labels}
    source = sources.pop() if len(sources) == 1 else None
    if source is not None:
        index = torch.full((len(asked), 1), source)
        return Positions(index, index < torch.tensor(query.prompts.lengths).unsqueeze(-1), True, False)
    if any(map(moves, used)):
        return run.positions
    if bool((asked == query.positions.valid).all()):
        return query.positions
    index = query.positions.index.gather(1, asked.to(torch.long).argmax(1, keepdim=True))
    return Positions(index, asked.any(1, keepdim=True), True, False)


def positions_asked(query: Query, pos: Pos) -> Bool[Tensor, "batch query"]:
    """Which of a query's positions are traced.

    Args:
        query: The query.
        pos: One position, counted from each prompt's first token; None for all.

    Raises:
        TypeError: If it is no number.
        ValueError: If the query is not about it.
    """
    valid = query.positions.valid
    if pos is None:
        return valid
    number = whole_number(pos)
    if number is None:
        raise TypeError(f"pos={told(pos)} is not a position. Pass a whole number, or None for all of the result.")
    lengths = torch.tensor(query.prompts.lengths).unsqueeze(-1)
    asked = valid & (query.positions.index == (number if number >= 0 else lengths + number))
    if not bool(asked.any()):
        there = sorted(set(query.positions.index[valid].tolist()))
        raise ValueError(f"The result is not about position {number}; it is about {some_of(map(str, there))}.")
    return asked
