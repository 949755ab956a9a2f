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
        following=_asks_following(query),
        edits=tuple(dict.fromkeys(f"{edit.part} ({type(edit.ablation).__name__})" for edit in edits_of(query.model))),
    )


def _asks_following(query: Query) -> bool:
    """Whether the first token of each direction is, at every place, the one that follows in the prompt."""
    prompts, positions = query.prompts, query.positions
    next_ = positions.index + 1
    beyond = (next_ >= torch.tensor(prompts.lengths, device="cpu")[:, None]) & positions.valid
    if not prompts.known or bool(beyond.any()) or any(not one.ids.shape[-1] for one in query.resolved):
        return False
    ids = prompts.tokens.gather(1, next_.clamp(max=prompts.tokens.shape[1] - 1))
    return all(bool(((one.ids[..., 0].to(ids) == ids) | ~positions.valid).all()) for one in query.resolved)


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
