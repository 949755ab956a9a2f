"""What attention scores are made of, recognised: a hypothesis must give, entry by entry, the scores that were seen.

The scores of the recording decide on all of it at once: on the matrices, on norms of queries and keys, on the turn by
position, on the scale, on what position adds. Names only say where to look.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dla.adapters.affine import Affine
from dla.adapters.recognise.attention import layouts, projection
from dla.adapters.recognise.match import equal, explained, shortest_first
from dla.adapters.recognise.recording import Recording, widened
from dla.adapters.recognise.score_steps import caps_of, steps_between
from dla.adapters.score_reads import MASKED, HeadSide, ScoreReads
from dla.writes import BoundedValue, Computation, Precision
from dla.writes.routes import Activations
from dla.writes.sites import Site

_ROUNDINGS = 8
"""How many roundings may be made of a query or a key before it enters a product."""


def recognise_scores(
    path: str, module: nn.Module, recording: Recording, entered: Float[Tensor, "batch pos d_model"], n_heads: int
) -> ScoreReads | str:
    """What the scores of an attention are made of, or why that is not known: a clause.

    Args:
        path: The attention's.
        module: The attention.
        recording: What was seen.
        entered: What entered the attention.
        n_heads: How many heads it has.
    """
    name = f"{path}.hook_attn_scores"
    seen, (batch, width) = recording.activation(name), entered.shape[:2]
    if seen is None:
        return f"{name} does not fire once"
    if seen.shape != (batch, n_heads, width, width):
        return f"{name} has shape {list(seen.shape)}"
    looked = widened(seen) > MASKED
    if bool(looked.triu(1).any()):
        pattern = recording.activation(f"{path}.hook_pattern")
        shows = pattern is not None and equal(pattern, seen)
        return f"{name} shows {'the pattern' if shows else 'scores of positions that are masked'}"
    query = _side(path, module, "Q", recording, entered, n_heads, None)
    if isinstance(query, str):
        return query
    key = _side(path, module, "K", recording, entered, n_heads, recording.read(query.site).shape[-1])
    if isinstance(key, str):
        return key
    for cap, (of_query, of_key) in itertools.product(
        caps_of(module), steps_between(path, module, recording, query, key)
    ):
        sides = replace(query, steps=of_query), replace(key, steps=of_key)
        reads = _fitted(ScoreReads(Site(name, None), *sides, 1.0, None, cap, 0.0), recording, seen, looked)
        if reads is not None:
            return reads
    return f"{name} is not what hooks show of queries times what they show of keys, times a constant"


def _side(
    path: str,
    module: nn.Module,
    kind: str,
    recording: Recording,
    entered: Float[Tensor, "batch pos d_model"],
    n_heads: int,
    d_head: int | None,
) -> HeadSide | str:
    """Queries or keys as the matrix makes them.

    Args:
        path: The attention's.
        module: The attention.
        kind: "Q" or "K".
        recording: What was seen.
        entered: What entered the attention.
        n_heads: How many heads it has.
        d_head: How wide a head is; None where there is one query for each head.
    """
    name = f"{path}.hook_{kind.lower()}"
    shown = recording.activation(name)
    if shown is None:
        return f"{name} does not fire once"
    batch, width = entered.shape[:2]
    d_head = d_head or shown.numel() // (batch * width * n_heads)
    for read in layouts(shown, (batch, width, n_heads, d_head)):
        site = Site(name, 1, read)
        found = projection(module, recording, site, entered, kind)
        if found is not None:
            return HeadSide(kind, site, Affine(found.weight, found.bias), ())
    return f"{name} is not what enters {path} times a matrix"


def _fitted(
    guess: ScoreReads, recording: Recording, seen: Float[Tensor, "batch head pos source"], looked: Bool[Tensor, "..."]
) -> ScoreReads | str | None:
    """The guess with the scale and slopes that give the scores; None if there are none; or why it is of no use."""
    activations, dtypes = recording.at(guess.sites), recording.dtypes(guess.sites)
    query, key = guess.query.made(activations), guess.key.made(activations)
    if query.shape[-1] != key.shape[-1] or seen.shape[1] % key.shape[2]:
        return None
    products, size = _products(query, key)
    wanted = guess.uncapped(widened(seen)).double()
    for columns in ((), (0,), (0, 2), (0, 1, 3)):
        for scale, slopes in _fits(products.double(), wanted, looked, columns, query.shape[-1]):
            reads = replace(guess, scale=scale, slopes=slopes)
            step = partial(_Scores, reads, products, size, looked)
            found = explained(step, {}, seen.masked_fill(~looked, 0.0), *dtypes)
            if isinstance(found, _Scores) and 3 in columns:  # HookedTransformer's ALiBi
                return (
                    f"what position adds to {guess.scores.name} depends on the longest prompt that the model has seen"
                )
            if isinstance(found, _Scores):
                return replace(reads, slopes=None if slopes is None else slopes[[0, 2]], unit=found.precision.unit)
    return None


def _products(
    query: Float[Tensor, "batch pos head d_head"], key: Float[Tensor, "batch source group d_head"]
) -> tuple[Float[Tensor, "batch head pos source"], Float[Tensor, "batch head pos source"]]:
    """Queries times keys, and their lengths multiplied."""
    key = key.repeat_interleave(query.shape[2] // key.shape[2], 2)
    lengths = torch.einsum("bqh,bkh->bhqk", query.norm(dim=-1), key.norm(dim=-1))
    return torch.einsum("bqhd,bkhd->bhqk", query, key), lengths


def _fits(
    products: Float[Tensor, "batch head pos source"],
    wanted: Float[Tensor, "batch head pos source"],
    looked: Bool[Tensor, "batch head pos source"],
    columns: tuple[int, ...],
    d_head: int,
) -> Iterator[tuple[float, Float[Tensor, "four head"] | None]]:
    """Scales, each with the slopes of the heads that fit best.

    Args:
        products: Queries times keys.
        wanted: The scores.
        looked: Which are not masked.
        columns: What a head has a slope for: 0 the position of the key, 1 of the query, 2 of the last token; 3 for
            a constant.
        d_head: How wide a head is.
    """
    if not bool(wanted[looked].isfinite().all()):
        return
    n_heads, places = products.shape[1], _places(products)
    rows, heads = looked.nonzero(), looked.nonzero()[:, 1]
    ours = torch.zeros(len(rows), n_heads, len(columns), dtype=torch.float64, device=products.device)
    for i, column in enumerate(columns):
        ours[torch.arange(len(rows)), heads, i] = places[column].expand(looked.shape)[looked]
    design = torch.cat([products[looked].unsqueeze(-1), ours.flatten(1)], -1)
    fitted: Tensor = torch.linalg.lstsq(design.cpu(), wanted[looked].unsqueeze(-1).cpu()).solution.squeeze(-1)
    scale = float(fitted[0])
    if scale == 0 or not math.isfinite(scale):
        return
    slopes = None
    if columns:
        slopes = torch.zeros(4, n_heads, dtype=torch.float64, device=products.device)
        slopes[list(columns)] = fitted[1:].reshape(n_heads, -1).T.to(slopes)
    written = [1.0, d_head**-0.5, 1.0 / d_head, *(d_head**-0.5 / layer for layer in range(2, 200))]
    near = [each for each in written if abs(each / scale - 1) < 1e-2]
    for each in (*near, *shortest_first(scale)):
        yield each, slopes


def _places(like: Float[Tensor, "batch head pos source"]) -> list[Float[Tensor, "..."]]:
    """The positions of keys, of queries, and of the last token; and 1."""
    positions = torch.arange(like.shape[-1], dtype=torch.float64, device=like.device)
    return [positions[None, :], positions[:, None], positions[-1:, None], torch.ones_like(positions[-1:, None])]


@final
@dataclass(frozen=True, eq=False)
class _Scores(Computation):
    """Scores made of queries and keys; 0 where they are masked."""

    guess: ScoreReads
    products: Float[Tensor, "batch head pos source"]
    size: Float[Tensor, "batch head pos source"]
    looked: Bool[Tensor, "batch head pos source"]
    precision: Precision

    @property
    def reads(self) -> tuple[Site, ...]:
        return ()

    def at(self, activations: Activations) -> BoundedValue:
        scores, size = self.products * self.guess.scale, self.size * abs(self.guess.scale)
        if self.guess.slopes is not None:
            added = sum(
                slope[:, None, None] * place for slope, place in zip(self.guess.slopes, _places(scores), strict=True)
            )
            scores, size = scores + added, size + added.abs()
        unit, sums = self.precision.unit, self.precision.sums
        slack = unit * scores.abs() + (_ROUNDINGS * unit + sums) * size + self.precision.least
        scores = self.guess.capped(scores)
        slack = slack + 4 * unit * scores.abs()
        return BoundedValue(*(each.masked_fill(~self.looked, 0.0) for each in (scores, slack)))
