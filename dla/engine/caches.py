"""Prompts, where a precomputed cache may stand in for a run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, final, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from dla.adapters.base import ModelAdapter
from dla.engine.activations import replay
from dla.inputs.given import shown
from dla.inputs.padding import filler_of, first_doubtful
from dla.inputs.prompts import Mask, Prompts, Text, read_prompts, unknown_prompts
from dla.tolerances import CACHE_TOLERANCE


@runtime_checkable
class Cache(Protocol):
    """What `run_with_cache` returns: activations by hook name."""

    @property
    def has_batch_dim(self) -> bool:
        """Whether its activations have a batch axis."""

    def __getitem__(self, name: str) -> Tensor:
        """The activation at a hook."""


@final
@dataclass(frozen=True, eq=False)
class CachedActivations:
    """A plain dictionary of activations by hook name, as a cache."""

    by_name: Mapping[str, Tensor]
    has_batch_dim: bool

    def __getitem__(self, name: str) -> Tensor:
        return self.by_name[name]


@final
class _Embedded(Exception):
    """The embeddings were seen, and what comes after them is not wanted."""

    def __init__(self, seen: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.seen = seen


def read_cache(model: ModelAdapter, cache: object) -> Cache | None:
    """A cache, as it is read later; a dictionary of activations is one.

    Raises:
        TypeError: If it is none.
    """
    if isinstance(cache, Mapping):
        final_stream = cache.get(model.anatomy.unembedding.normalised.name)
        return CachedActivations(cache, has_batch_dim=not isinstance(final_stream, Tensor) or final_stream.dim() > 2)
    if cache is None or isinstance(cache, Cache):
        return cache
    raise TypeError(f"The cache is {shown(cache)}. Pass the second of what run_with_cache returns, or leave it out.")


def read_prompts_or_cache(
    model: ModelAdapter,
    prompts: Text | Tensor | Prompts | None,
    cache: Any,
    attention_mask: Mask,
    prepend_bos: bool | None,
) -> Prompts:
    """The prompts, checked against the cache if there is one.

    Raises:
        ValueError: If neither is given, the cache is another model's, or it was not made from these prompts.
    """
    vocabulary = model.vocabulary
    if cache is None:
        if prompts is None:
            raise ValueError("Neither prompts nor a cache was given. Pass the prompts to run, or a cache.")
        return read_prompts(prompts, vocabulary, attention_mask, prepend_bos)
    if not model.owns(cache):
        raise ValueError("The cache comes from another model. Pass one that this model made, or leave it out.")
    batch, width = cache_size(model, cache)
    if prompts is None:
        if attention_mask is not None or prepend_bos is not None:
            raise ValueError("attention_mask and prepend_bos speak of prompts, and none were given. Pass them too.")
        _check_for_padding(model, cache, batch, width)
        return unknown_prompts(batch, width, vocabulary)
    read = read_prompts(prompts, vocabulary, attention_mask, prepend_bos)
    sizes = (
        f"The cache holds {batch} prompts of {width} positions, the prompts given are {read.batch} of "
        f"{read.tokens.shape[1]}."
    )
    if read.batch != batch or read.tokens.shape[1] > width:
        raise ValueError(f"{sizes} Pass the prompts that the cache was made from.")
    filled = _as_wide(read, width)
    _check_same(model, cache, filled, "The cache was not made from these prompts." if filled is read else sizes)
    return filled


@contextmanager
def fitting(cache: Cache | None) -> Iterator[None]:
    """Says so where activations of a cache have other shapes than the model's.

    Raises:
        ValueError: If they do not fit together.
    """
    try:
        yield
    except (RuntimeError, IndexError) as error:
        if cache is None or isinstance(error, torch.OutOfMemoryError):
            raise
        raise ValueError(
            f"The activations in the cache do not fit the model ({shown(str(error))}). Make the cache again with "
            "run_with_cache, or leave it out."
        ) from error


def cache_size(model: ModelAdapter, cache: Any) -> tuple[int, int]:
    """How many prompts a cache holds, and of how many positions."""
    shapes: list[tuple[int, ...]] = []
    name = model.anatomy.unembedding.normalised.name
    replay(cache, {name: lambda activation: shapes.append(tuple(activation.shape))})
    return shapes[0][0], shapes[0][1]


def _as_wide(read: Prompts, width: int) -> Prompts:
    """The prompts, filled up to the width of a cache: they may have been padded more than they need."""
    more = width - read.tokens.shape[1]
    if not more:
        return read
    return replace(read, tokens=torch.nn.functional.pad(read.tokens, (0, more), value=filler_of(read.vocabulary)))


def _check_same(model: ModelAdapter, cache: Cache, read: Prompts, finding: str) -> None:
    """Refuses a cache that holds other embeddings than those of the prompts."""
    agree = _agreeing(model, cache, read.tokens)
    for i, length in enumerate(read.lengths):
        if not bool(agree[i, :length].all()):
            place = int((~agree[i, :length]).int().argmax())
            text = read.vocabulary.text(int(read.tokens[i, place]))
            if min(read.lengths) < agree.shape[1] and read.vocabulary.pads_left:
                raise ValueError(
                    "The prompts are padded in the cache and the tokenizer pads on the left, so positions in the cache "
                    f"are not positions in the prompts (position {place} of prompt {i} is {text!r}). Leave the cache "
                    "out, or set tokenizer.padding_side = 'right' and make it again."
                )
            raise ValueError(
                f"{finding} At position {place} of prompt {i} ({text!r}) it holds the embedding of another token. Pass "
                "the prompts that it was made from, in that order and padded on the right; or leave the cache out."
            )


def _check_for_padding(model: ModelAdapter, cache: Cache, batch: int, width: int) -> None:
    """Refuses a cache that seems to hold padding, of which only the prompts can tell how much."""
    vocabulary = model.vocabulary
    if vocabulary.decode is None or not 0 <= vocabulary.pad < vocabulary.input_size:
        return
    padding = torch.full((batch, width), vocabulary.pad, device="cpu")
    agree = _agreeing(model, cache, padding, first=True)
    doubtful = first_doubtful(padding.masked_fill(~agree, -1).tolist(), vocabulary)
    if doubtful is not None:
        raise ValueError(
            f"The cache holds the embedding of {vocabulary.text(vocabulary.pad)!r}, which this tokenizer pads with, in "
            f"prompt {doubtful}, and does not say what is padding. Pass the prompts too; or leave the cache out."
        )


def _agreeing(
    model: ModelAdapter, cache: Cache, tokens: Int[Tensor, "batch pos"], first: bool = False
) -> Bool[Tensor, "batch pos"]:
    """Where a cache holds the embeddings of some tokens; with `first`, those of the tokens without their positions."""
    held = _embeddings(model, cache)
    now = _embedded(model, tokens, list(held))
    agree = torch.ones(tokens.shape, dtype=torch.bool, device="cpu")
    for name in list(held)[:1] if first else held:
        if held[name].numel() != now[name].numel():  # of another model, or of other prompts
            return torch.zeros_like(agree)
        cached, given = (each.detach().cpu().reshape(*tokens.shape, -1) for each in (held[name], now[name]))
        eps = max(torch.finfo(each.dtype).eps for each in (cached, given))
        given = given.double()
        allowed = CACHE_TOLERANCE * eps * (given.abs() + given.pow(2).mean(-1, keepdim=True).sqrt())
        agree &= ((cached.double() - given).abs() <= allowed).all(-1)
    return agree


def _embeddings(model: ModelAdapter, cache: Cache) -> dict[str, Tensor]:
    """What a cache holds of the embeddings: themselves, else the stream that enters the first block."""
    anatomy = model.anatomy
    apart = [site.name for write in anatomy.embeddings for site in write.reads]
    stream = [site.name for site in anatomy.blocks[0].resid_pre.reads]
    return _held(cache, apart) or _held(cache, stream) or _replayed(cache, apart)


def _held(cache: Cache, names: Sequence[str]) -> dict[str, Tensor]:
    try:
        return _replayed(cache, names)
    except ValueError:
        return {}


def _replayed(cache: Cache, names: Sequence[str]) -> dict[str, Tensor]:
    held: dict[str, Tensor] = {}
    replay(cache, {name: _keeping(held, name) for name in names})
    return held


def _embedded(model: ModelAdapter, tokens: Int[Tensor, "batch pos"], names: Sequence[str]) -> Mapping[str, Tensor]:
    """The model's own embeddings of some tokens: it is run as far as there."""
    seen: dict[str, Tensor] = {}

    def until_all(name: str) -> Callable[[Tensor], None]:
        keep = _keeping(seen, name)

        def see(activation: Tensor) -> None:
            keep(activation)
            if len(seen) == len(names):
                raise _Embedded(seen)

        return see

    try:
        model.run(tokens, {name: until_all(name) for name in names}, None)
    except _Embedded as embedded:
        return embedded.seen
    raise ValueError(f"The model does not show {names[0]!r} when it runs, which the cache holds. Leave the cache out.")


def _keeping(store: dict[str, Tensor], name: str) -> Callable[[Tensor], None]:
    return lambda activation: store.update({name: activation})
