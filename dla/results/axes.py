"""The axes of a result: those that were asked for, and what was asked."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dla.edits.planning import edits_of
from dla.engine.answers import ModelAnswers
from dla.engine.query import Query
from dla.inputs.positions import Positions
from dla.provenance import Provenance, versions


def provenance_of(query: Query, dims: tuple[str, ...], answers: ModelAnswers | None = None) -> Provenance:
    """What was asked of which model.

    Args:
        query: What was asked.
        dims: The axes of the result, after that of the parts.
        answers: What the model said where it was asked.
    """
    said, first = ((), ()) if answers is None else answers.told(query)
    anatomy = query.model.anatomy
    return Provenance(
        tokens=tuple(tuple(prompt) for prompt in query.prompts.texts()),
        direction=query.direction,
        decomposer=query.plan.name,
        row_kind=query.plan.row_kind.value,
        model=anatomy.name,
        dtype=str(anatomy.unembedding.W_U.dtype).removeprefix("torch."),
        dims=dims,
        versions=versions(),
        directions=query.names,
        summed=query.summed,
        asked=query.asked,
        said=said,
        first=first,
        edits=tuple(dict.fromkeys(f"{edit.part} ({type(edit.ablation).__name__})" for edit in edits_of(query.model))),
    )


def without_axes(
    positions: Positions, unwanted: Sequence[int], tensor: Float[Tensor, "*more"]
) -> Float[Tensor, "*fewer"]:
    """A tensor of a pass without the axes that were not asked for; NaN where a prompt has no such position.

    Args:
        positions: The positions asked about.
        unwanted: The axes, counted from the last; those that the tensor does not have are passed over.
        tensor: With batch and position as its last axes.
    """
    if not bool(positions.valid.all()):
        tensor = tensor.masked_fill(~positions.valid.to(tensor.device), torch.nan)
    return tensor.squeeze(tuple(axis for axis in unwanted if -axis <= tensor.ndim))
