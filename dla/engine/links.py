"""What each part read of each part before it, through all paths to a logit: the edges of a graph.

The node of a part is all that it adds to the logit through all paths. The direction that reads it there, pulled back to
what it read, splits that number into what each earlier part wrote, and a constant: all edges into a node are its value.
"""

from collections import ChainMap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.reads import StreamEntry
from dla.engine.all_paths import Home, Met
from dla.engine.back import rule_through
from dla.engine.frozen import FrozenRun
from dla.engine.held import Leaves, held
from dla.engine.pull_back import PulledBack
from dla.engine.rules import Rule
from dla.engine.shown import NotTraced
from dla.writes import Site

_NOTHING = "it read nothing of the stream"
_AT_A_TIME = 16  # directions that are contracted together


@final
@dataclass(frozen=True, eq=False)
class ReadPart:
    """One part at one position, and what reads the stream in its stead.

    Attributes:
        direction: What reads the stream where the part read it, in the units of the final stream.
        before: Only parts that are written before this were there.
        constant: What was read of biases.
        measured: All that was read, as it was measured.
        size: How large the numbers are that cancel in it.
    """

    direction: Float[Tensor, "pos d_model"]
    before: Home
    constant: float
    measured: float
    size: float


def read_of(met: Met, wanted: Sequence[tuple[int, int]], rule: Rule | None, run: FrozenRun) -> list[ReadPart | str]:
    """What some parts of one prompt read, or why that is not known: a clause.

    Args:
        met: The step that writes them, and what reads it.
        wanted: The number of each part in the step, and its position.
        rule: How gated MLPs are read as linear.
        run: The run.
    """
    why = next((each.why for each in met.shown.values() if isinstance(each, NotTraced)), None)
    if why is not None or not met.shown:
        return [why or _NOTHING] * len(wanted)
    leaves = Leaves({key: run[key].detach().clone().requires_grad_() for key in met.shown if isinstance(key, Site)})
    write = held(met.step.write, leaves, (len(met.direction), met.direction.shape[1]))
    with torch.enable_grad():
        rows = write.contract(ChainMap(leaves.made, run), met.direction)  # type: ignore[arg-type]
        each = [rows[part, 0, pos if rows.shape[-1] > 1 else 0] for part, pos in wanted]
    found: list[ReadPart | str] = []
    for row in each:
        by = [*leaves.made.values(), *leaves.biases]
        gradients = torch.autograd.grad(row, by, retain_graph=True, allow_unused=True, materialize_grads=True)
        used = {key: g.detach() for key, g in zip(leaves.made, gradients, strict=False) if bool(g.any())}
        if not used:
            found.append(_NOTHING)
            continue
        read = [met.shown[key] for key in used]
        pulled = [
            each.pulled_back(g, rule_through(each, rule), run) for each, g in zip(read, used.values(), strict=True)
        ]
        biases = sum(gradients[len(leaves.made) :], torch.zeros_like(pulled[0].constant))
        found.append(_part(reduce(add, pulled).plus(biases), read[0].entry))
    return found


def _part(pulled: PulledBack, entry: StreamEntry) -> ReadPart:
    stream = entry.stream
    assert stream.label.layer is not None
    before = stream.label.layer + (stream.label.kind == "post"), int(stream.label.kind == "mid")
    told = (float(each.sum()) for each in (pulled.constant, pulled.measured, pulled.size))
    return ReadPart(pulled.direction[0] / stream.route.multiplier, before, *told)


def edges_into(parts: Sequence[ReadPart], met: Sequence[Met], run: FrozenRun) -> Iterator[Float[Tensor, "row pos"]]:
    """For each part that was read, what it read of every row at every position; 0 of what was not there yet.

    Args:
        parts: The parts.
        met: All steps, in the order of the rows.
        run: The run.
    """
    for start in range(0, len(parts), _AT_A_TIME):
        some = parts[start : start + _AT_A_TIME]
        directions = torch.stack([part.direction for part in some]).unsqueeze(1)
        columns = []
        for each in met:
            there = torch.tensor([each.home < part.before for part in some], device=directions.device)
            shape = (len(some), len(each.step.write.labels), directions.shape[-2])
            rows = directions.new_zeros(shape)
            if bool(there.any()):
                rows[there] = each.step.write.contract(run, directions[there])[:, :, 0].expand(rows[there].shape)
            columns.append(rows)
        yield from torch.cat(columns, 1)
