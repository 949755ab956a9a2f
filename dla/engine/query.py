"""What is asked of a model: made once, answered by one forward pass, and kept by the result to look closer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from jaxtyping import Float
from torch import Tensor, no_grad

from dla.adapters.base import ModelAdapter, Observer
from dla.adapters.turns import turn_on
from dla.adapters.unembedding import Unembedding
from dla.decomposers.base import Planned
from dla.decomposers.plans import Plan
from dla.directions import Direction, Directions, ResolvedDirection, one_place
from dla.directions.several import named_directions
from dla.engine.activations import PositionSelector, selector_of, watch
from dla.inputs.arguments import instance
from dla.inputs.positions import Positions
from dla.inputs.prompts import Prompts


@final
@dataclass(frozen=True, eq=False)
class Query:
    """A model, what is read of it, and what is asked.

    Attributes:
        model: The model, up to the place in the stream that is asked about.
        plan: What is read of it, and what the rows are.
        prompts: The prompts.
        positions: The positions asked about.
        direction: The directions in words.
        names: The names of several directions; empty for one.
        resolved: The directions, resolved for these prompts.
        cache: An `ActivationCache` to use instead of running, or None.
        summed: Whether one number for several positions is their sum, as of an answer's tokens, and not their mean.
        asked: For each direction its token at each place, prompt by prompt; empty where the directions' names say them.
        tells: Whether to look at how likely the tokens are that are asked about, and at the model's first answers.
    """

    model: ModelAdapter
    plan: Plan
    prompts: Prompts
    positions: Positions
    direction: str
    names: tuple[str, ...]
    resolved: tuple[ResolvedDirection, ...]
    cache: Any = None
    summed: bool = False
    asked: tuple[tuple[str, ...], ...] = ()
    tells: bool = False

    @staticmethod
    def of(
        planned: Planned, direction: Direction | Directions, prompts: Prompts, positions: Positions, cache: Any = None
    ) -> "Query":
        """A query, after one more pass where the direction depends on what the model answers.

        Args:
            planned: Gives the model and its plan.
            direction: What is asked.
            prompts: The prompts.
            positions: The positions asked about.
            cache: An `ActivationCache` to use instead of running, or None.

        Raises:
            TypeError: If a direction does not give what a direction gives.
            ValueError: If a direction does not fit the prompts, or two read different places of the stream.
        """
        if direction.needs_answers:
            prompts = answered(planned(None)[0], prompts, positions, cache)
        several = {} if isinstance(direction, Direction) else named_directions(direction.named(prompts, positions))
        each = [direction] if isinstance(direction, Direction) else several.values()
        resolved = tuple(one.resolved(prompts, positions) for one in each)
        asked = (
            ()
            if isinstance(direction, Direction) or not direction.names_places
            else _asked(resolved, prompts, positions)
        )
        model, plan = planned(one_place(resolved))
        whose = f"What {type(direction).__name__}.describe gave"
        words = instance(direction.describe(), str, whose, "a text, the direction in words")
        return Query(model, plan, prompts, positions, words, tuple(several), resolved, cache, asked=asked)

    @property
    def at(self) -> str | None:
        """The place in the stream that is read; None for the model's readout."""
        return one_place(self.resolved)

    @property
    def batched(self) -> bool:
        """Whether there is a batch axis; a cache may lack it."""
        return self.cache is None or bool(self.cache.has_batch_dim)

    @property
    def unembedding(self) -> Unembedding:
        """The model's readout."""
        return self.model.anatomy.unembedding

    @property
    def select(self) -> PositionSelector:
        """Takes the positions that are asked about out of activations."""
        return selector_of(self.model, self.prompts, self.positions)

    def watch(self, observers: Sequence[Mapping[str, Observer]]) -> Float[Tensor, "batch query d_vocab"] | None:
        """Runs the model, or goes over the cache, calling observers; gives the logits if the model was run."""
        return watch(self.model, self.prompts, self.positions, self.cache, observers)


def _asked(
    resolved: Sequence[ResolvedDirection], prompts: Prompts, positions: Positions
) -> tuple[tuple[str, ...], ...]:
    """The token of each direction at each place; empty where a short prompt has no such position."""
    there = positions.valid.flatten().tolist()
    text = prompts.vocabulary.text
    return tuple(
        tuple(
            text(token) if known else ""
            for token, known in zip(
                each.ids[..., 0].expand(positions.index.shape).flatten().tolist(), there, strict=True
            )
        )
        for each in resolved
    )


@no_grad()
def answered(model: ModelAdapter, prompts: Prompts, positions: Positions, cache: Any = None) -> Prompts:
    """Prompts with the logits that a model returns at some positions.

    Args:
        model: The model.
        prompts: The prompts.
        positions: The positions.
        cache: An `ActivationCache` to use instead of running, or None.

    Raises:
        ValueError: If the cache's logits are not those that the model returns, and how these follow is not known.
    """
    unembedding, select = model.anatomy.unembedding, selector_of(model, prompts, positions)
    seen: list[Tensor] = []
    observers = [] if cache is None else [{unembedding.logits.name: seen.append}]
    with turn_on(model.source):
        logits = watch(model, prompts, positions, cache, observers)
    rows = select.rows_of(seen[0], 1) if logits is None else select.rows_of(logits, 1)
    rows = _transformed(rows, unembedding) if logits is None else rows
    return replace(prompts, answers=rows.to(select.dtype))


def _transformed(
    logits: Float[Tensor, "batch query d_vocab"], unembedding: Unembedding
) -> Float[Tensor, "batch query d_vocab"]:
    if unembedding.transform is None:
        raise ValueError(
            "What is asked depends on the logits that the model returns, and how they follow from those in the cache "
            "is not known. Pass the prompts and leave the cache out."
        )
    return unembedding.transform(logits)
