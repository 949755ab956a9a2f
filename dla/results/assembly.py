"""A pass as a result: without the axes that were not asked for."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from dla.adapters.base import ModelAdapter
from dla.decomposers.base import RowKind
from dla.decomposers.plans import Plan
from dla.engine.forward import ForwardResult, Query
from dla.inputs.prompts import Positions
from dla.provenance import Provenance, versions
from dla.results.attribution import Attribution
from dla.results.rerun import Rerun


def attribution_of(
    run: ForwardResult,
    model: ModelAdapter,
    plan: Plan,
    query: Query,
    row_kind: RowKind,
    direction: str,
    names: Sequence[str],
) -> Attribution:
    """A pass as a result: without the axes that were not asked for, NaN where a prompt has no such position.

    Args:
        run: The pass.
        model: The model, up to the place that was asked about.
        plan: What was read of it.
        query: What was asked.
        row_kind: What the rows are.
        direction: The directions in words.
        names: The names of several directions; empty for one.
    """
    anatomy, positions = model.anatomy, query.positions
    there = {"direction": bool(names), "batch": query.batched, "position": not positions.single}
    provenance = Provenance(
        tokens=tuple(tuple(prompt) for prompt in query.prompts.texts()),
        direction=direction,
        decomposer=plan.name,
        row_kind=row_kind.value,
        model=anatomy.name,
        dtype=str(anatomy.unembedding.W_U.dtype).removeprefix("torch."),
        dims=tuple(name for name, kept in there.items() if kept),
        versions=versions(),
        directions=tuple(names),
    )
    axes = [i for i, kept in enumerate(there.values(), start=-3) if not kept]
    shaped = partial(_shaped, positions, axes)
    return Attribution(
        parts=tuple(run.labels),
        values=shaped(run.values),
        total=shaped(run.total(row_kind)),
        constant=shaped(run.constant),
        logit=shaped(run.logit),
        output_logit=shaped(run.output_logit),
        tolerance=shaped(run.tolerance(row_kind)),
        positions=torch.where(positions.valid, positions.index, -1).squeeze([axis for axis in axes if axis > -3]),
        provenance=provenance,
        rerun=Rerun.of(run, model, plan, query, row_kind),
    )


def _shaped(positions: Positions, unwanted: Sequence[int], tensor: Tensor) -> Tensor:
    if not bool(positions.valid.all()):
        tensor = tensor.masked_fill(~positions.valid.to(tensor.device), torch.nan)
    return tensor.squeeze(tuple(axis for axis in unwanted if -axis <= tensor.ndim))
