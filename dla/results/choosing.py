"""An attribution of one prompt of several, or of all positions together."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, final

import torch
from jaxtyping import Shaped
from torch import Tensor

from dla.directions import ResolvedDirection
from dla.edits.planning import edits_of
from dla.engine.query import Query
from dla.inputs.given import shown, whole_number
from dla.inputs.positions import Positions
from dla.inputs.prompts import Prompts
from dla.labels import Label
from dla.results.attributed import AttributedRows
from dla.results.attribution_table import over_positions
from dla.results.rerun import Rerun

_Place = TypeVar("_Place")

PER_PLACE = ("total", "constant", "logit", "output_logit", "tolerance")
"""The tensors of an attribution that have a number for each direction, prompt and position."""


def summed(result: AttributedRows) -> dict[str, Any]:
    """The fields of an attribution that is the sum over the positions of another.

    Raises:
        ValueError: If it has no axis of positions.
    """
    provenance = result.provenance
    if "position" not in provenance.dims:
        raise ValueError("The result is about one position of each prompt; there is nothing to sum.")
    dims = tuple(dim for dim in provenance.dims if dim != "position")
    words = provenance.direction if provenance.summed else f"{provenance.direction}, sum over positions"
    return {
        **{name: over_positions(getattr(result, name)) for name in ("values", *PER_PLACE)},
        "positions": result.positions.amax(-1),
        "provenance": replace(provenance, direction=words, dims=dims, summed=True, asked=(), said=(), first=()),
        "rerun": None,
        "question": None,
    }


def of_prompt(result: AttributedRows, index: object) -> dict[str, Any]:
    """The fields that an attribution of one of the prompts alone has: its own positions and sources.

    Args:
        result: The attribution.
        index: The prompt.

    Raises:
        IndexError: If there is no such prompt.
        TypeError: If it is no number.
        ValueError: If there is no axis of prompts.
    """
    i, provenance = whole_number(index), result.provenance
    if i is None:
        raise TypeError(f"result[{shown(index)}]: pass the number of a prompt.")
    if "batch" not in provenance.dims:
        raise ValueError("The result is about one prompt, without an axis of prompts.")
    axis = provenance.places.index("batch")
    batch = result.positions.shape[axis]
    if not -batch <= i < batch:
        raise IndexError(f"result[{i}]: there are {batch} prompts.")
    i, by_position = i % batch, "position" in provenance.dims
    positions = result.positions.narrow(axis, i, 1)
    n = int((positions >= 0).sum()) if by_position else 1

    def own(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        tensor = tensor.narrow(-2 if by_position else -1, i, 1)
        return tensor[..., :n] if by_position else tensor

    tokens = provenance.tokens[i : i + 1]
    rename = _of_tokens(tokens[0]) if tokens and batch > 1 else None
    keep = [j for j, part in enumerate(result.parts) if not tokens or (part.source or 0) < len(tokens[0])]
    return {
        "parts": tuple(result.parts[j] if rename is None else rename(result.parts[j]) for j in keep),
        "values": own(result.values if len(keep) == len(result.parts) else result.values[keep]),
        "positions": own(result.positions),
        "provenance": replace(
            provenance,
            tokens=tokens,
            asked=tuple(_own_of(each, i, batch, n) for each in provenance.asked),
            said=_own_of(provenance.said, i, batch, n),
            first=_own_of(provenance.first, i, batch, n),
        ),
        "rerun": None if result.rerun is None else _rerun_of(result.rerun, i, n),
        "question": None,
        **{name: own(getattr(result, name)) for name in PER_PLACE},
    }


def _own_of(of_places: tuple[_Place, ...], i: int, batch: int, n: int) -> tuple[_Place, ...]:
    start = i * (len(of_places) // batch)
    return of_places[start : start + n]


def _of_tokens(tokens: tuple[str, ...]) -> Callable[[Label], Label]:
    """Names the tokens of sources, as one prompt alone has them; several prompts have different ones there."""

    def renamed(label: Label) -> Label:
        unnamed = label.source is not None and str(label).endswith(f"← {label.source}")
        return replace(label, text=f"{label} {tokens[label.source or 0]!r}") if unnamed else label

    return renamed


def _rerun_of(rerun: Rerun, i: int, n: int) -> Rerun | None:
    """The run of one of the prompts; None where it was edited, since edits are made for all prompts together."""
    query = rerun.query
    if edits_of(query.model):
        return None
    here = (slice(i, i + 1), slice(None, n))
    prompts, known = query.prompts, query.prompts.lengths[i]
    width = known if query.cache is None else prompts.tokens.shape[1]
    index = query.positions.index[here]
    one = replace(
        query,
        prompts=_prompt_of(prompts, i, width),
        positions=Positions(
            index, query.positions.valid[here], query.positions.single, index[0].tolist() == list(range(width))
        ),
        resolved=tuple(_resolved_of(each, query, i, n) for each in query.resolved),
        cache=None if query.cache is None else OneOfCache(query.cache, i),
    )
    return replace(
        rerun,
        query=one,
        scale=None if rerun.scale is None else rerun.scale[here],
        stream=None if rerun.stream is None else rerun.stream[here],
        sketch=rerun.sketch[here],
        logit=rerun.logit[(slice(None), *here)],
        tolerance=rerun.tolerance[(slice(None), *here)],
    )


def _prompt_of(prompts: Prompts, i: int, width: int) -> Prompts:
    return Prompts(
        prompts.tokens[i : i + 1, :width],
        prompts.lengths[i : i + 1],
        prompts.vocabulary,
        prompts.known,
        starts=None if prompts.starts is None else prompts.starts[i : i + 1],
        one_of=prompts.one_of or (i, prompts.batch),
        spans={name: positions[i : i + 1] for name, positions in prompts.spans.items()},
    )


def _resolved_of(resolved: ResolvedDirection, query: Query, i: int, n: int) -> ResolvedDirection:
    batch, asked = query.positions.index.shape

    def own(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        tensor = tensor[i : i + 1] if tensor.shape[0] == batch > 1 else tensor
        return tensor[:, :n] if tensor.shape[1] == asked > 1 else tensor

    return ResolvedDirection(
        own(resolved.ids),
        resolved.weights,
        None if resolved.vector is None else own(resolved.vector),
        None if resolved.dense is None else own(resolved.dense),
        resolved.at,
        None if resolved.offset is None else own(resolved.offset),
    )


@final
@dataclass(frozen=True, eq=False)
class OneOfCache:
    """One prompt of a cache.

    Attributes:
        cache: The cache, of several prompts.
        prompt: Which of them.
    """

    cache: Any
    prompt: int

    has_batch_dim = True

    def __getitem__(self, name: str) -> torch.Tensor:
        held: torch.Tensor = self.cache[name]
        return held[self.prompt : self.prompt + 1] if held.shape[0] > 1 else held
