"""Prompts, where a precomputed cache may stand in for a run."""

from typing import Any

from torch import Tensor

from dla.adapters.base import ModelAdapter
from dla.prompts import Prompts, Text, read_prompts, unknown_prompts
from dla.streaming import replay


def read_prompts_or_cache(
    model: ModelAdapter,
    prompts: Text | Tensor | None,
    cache: Any,
    attention_mask: Tensor | None,
    prepend_bos: bool | None,
) -> Prompts:
    """The prompts, checked against the cache if there is one.

    Raises:
        ValueError: If neither is given, the cache is another model's, or prompts and cache do not fit each other.
    """
    vocabulary = model.vocabulary
    if cache is None:
        if prompts is None:
            raise ValueError("Neither prompts nor a cache was given. Pass the prompts to run, or a cache.")
        return read_prompts(prompts, vocabulary, attention_mask, prepend_bos)
    if not model.owns(cache):
        raise ValueError("The cache comes from another model. Pass one that this model made, or leave it out.")
    batch, width = size_of(model, cache)
    if prompts is None:
        return unknown_prompts(batch, width, vocabulary)
    read = read_prompts(prompts, vocabulary, attention_mask, prepend_bos)
    if tuple(read.tokens.shape) != (batch, width):
        raise ValueError(
            f"The cache holds {batch} prompts of {width} positions, the prompts given are {read.batch} of "
            f"{read.tokens.shape[1]}. Pass the prompts that the cache was made from."
        )
    if len(set(read.lengths)) > 1 and vocabulary.pads_left:
        raise ValueError(
            "The prompts have unequal lengths and the tokenizer pads on the left, so positions in the cache are "
            "not positions in the prompts. Leave the cache out, or set tokenizer.padding_side = 'right'."
        )
    return read


def size_of(model: ModelAdapter, cache: Any) -> tuple[int, int]:
    """How many prompts a cache holds, and of how many positions."""
    shapes: list[tuple[int, ...]] = []
    name = model.anatomy.unembedding.normalised.name
    replay(cache, {name: lambda activation: shapes.append(tuple(activation.shape))})
    return shapes[0][0], shapes[0][1]
