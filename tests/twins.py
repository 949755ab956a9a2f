"""Broken twins: adapters, decomposers, directions and writes, each with one mistake that people make.

A test is worth keeping if it fails on these.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

import dla
from dla.adapters import Anatomy, Heads, Observer
from dla.directions import ResolvedDirection
from dla.inputs import Positions, Prompts, Vocabulary
from dla.writes import Activations


@final
class AlteredAdapter(dla.ModelAdapter):
    """An adapter that is wrong about its model's anatomy, or shows other activations than the model has."""

    def __init__(
        self,
        model: Any,
        alter: Callable[[Anatomy], Anatomy] = lambda anatomy: anatomy,
        show: Callable[[str, Tensor], Tensor] = lambda name, activation: activation,
    ) -> None:
        self._right, self._show = dla.adapt(model), show
        self._anatomy = alter(self._right.anatomy)

    @property
    def anatomy(self) -> Anatomy:
        return self._anatomy

    @property
    def vocabulary(self) -> Vocabulary:
        return self._right.vocabulary

    def run(self, tokens: Tensor, observe: Mapping[str, Observer], rows: Tensor | None) -> Tensor:
        shown = {name: partial(self._pass_on, name, observer) for name, observer in observe.items()}
        return self._right.run(tokens, shown, rows)

    def owns(self, cache: Any) -> bool:
        return self._right.owns(cache)

    def _pass_on(self, name: str, observer: Observer, activation: Tensor) -> None:
        observer(self._show(name, activation))


def norm_of(anatomy: Anatomy) -> dla.Norm:
    assert anatomy.unembedding.norm is not None
    return anatomy.unembedding.norm


def with_readout(**changes: Any) -> Callable[[Anatomy], Anatomy]:
    return lambda anatomy: replace(anatomy, unembedding=replace(anatomy.unembedding, **changes))


def with_norm(change: Callable[[dla.Norm], dict[str, Any]]) -> Callable[[Anatomy], Anatomy]:
    def alter(anatomy: Anatomy) -> Anatomy:
        norm = norm_of(anatomy)
        return with_readout(norm=replace(norm, **change(norm)))(anatomy)

    return alter


def rescaled(factor: Callable[[Tensor], Tensor]) -> Callable[[dla.Norm], dict[str, Any]]:
    """Reads the scale wrongly."""

    def change(norm: dla.Norm) -> dict[str, Any]:
        return {"scale": replace(norm.scale, read=lambda scale: factor(norm.scale.read(scale)))}

    return change


def with_heads(change: Callable[[Heads], Heads]) -> Callable[[Anatomy], Anatomy]:
    """The same mistake about the heads of every block."""

    def alter(anatomy: Anatomy) -> Anatomy:
        blocks = []
        for block in anatomy.blocks:
            sublayers = [s if s.heads is None else replace(s, heads=change(s.heads)) for s in block.sublayers]
            blocks.append(replace(block, sublayers=tuple(sublayers)))
        return replace(anatomy, blocks=tuple(blocks))

    return alter


def with_shifted_columns(anatomy: Anatomy) -> Anatomy:
    """Reads each token off its neighbour's column."""
    return with_readout(W_U=anatomy.unembedding.W_U.roll(1, dims=-1))(anatomy)


@final
@dataclass(frozen=True)
class AlteredDecomposer(dla.Decomposer):
    """A decomposer that makes a mistake in another one's plan."""

    original: dla.Decomposer
    alter: Callable[[list[dla.Write], dla.ModelAdapter], Sequence[dla.Write]]

    @property
    def row_kind(self) -> dla.RowKind:  # type: ignore[override]  # an attribute of the class, in those that are not twins
        return self.original.row_kind

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return self.alter(list(self.original.writes(model)), model)


def without(kind: str, layer: int | None = None) -> Callable[[list[dla.Write], dla.ModelAdapter], list[dla.Write]]:
    """Forgets the writes of a kind, of one layer or of all."""

    def alter(plan: list[dla.Write], _: dla.ModelAdapter) -> list[dla.Write]:
        def forgotten(write: dla.Write) -> bool:
            return any(label.kind == kind and layer in (None, label.layer) for label in write.labels)

        assert any(forgotten(write) for write in plan)
        return [write for write in plan if not forgotten(write)]

    return alter


def rerouted(route: Callable[[dla.Route], dla.Route]) -> Callable[[list[dla.Write], dla.ModelAdapter], list[dla.Write]]:
    """Sends the writes that have a route of their own by another one."""

    def alter(plan: list[dla.Write], _: dla.ModelAdapter) -> list[dla.Write]:
        return [replace(w, route=route(w.route)) if isinstance(w, dla.HeadWrites) else w for w in plan]

    return alter


@final
@dataclass(frozen=True, eq=False)
class Rest(dla.Write):
    """What the others leave of the final stream: with it, any parts add up."""

    stream: dla.FullOutput
    others: Sequence[dla.Write]

    @property
    def labels(self) -> Sequence[dla.Label]:
        return (dla.Label("rest"),)

    @property
    def reads(self) -> tuple[dla.Site, ...]:
        return tuple(dict.fromkeys(site for write in (self.stream, *self.others) for site in write.reads))

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        others = (write.contract(activations, direction).sum(-3, keepdim=True) for write in self.others)
        return self.stream.contract(activations, direction) - sum(others)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        others = (write.vectors(activations).sum(0, keepdim=True) for write in self.others)
        return self.stream.vectors(activations) - sum(others)


def with_rest(plan: list[dla.Write], model: dla.ModelAdapter) -> list[dla.Write]:
    """Forgets the biases, doubles what heads write, and hides it all in a row by subtraction."""
    kept = [w for w in plan if isinstance(w, dla.HeadWrites)]
    wrong = [replace(write, weight=2.0 * write.weight) for write in kept]
    return [*wrong, Rest(model.block(model.n_layers - 1).resid_post, wrong)]


@final
@dataclass(frozen=True, eq=False)
class Disagreeing(dla.Write):
    """A write that contracts one thing and shows the vectors of another."""

    contracted: dla.Write
    shown: dla.Write

    @property
    def labels(self) -> Sequence[dla.Label]:
        return self.contracted.labels

    @property
    def reads(self) -> tuple[dla.Site, ...]:
        return tuple(dict.fromkeys((*self.contracted.reads, *self.shown.reads)))

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        return self.contracted.contract(activations, direction)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        return self.shown.vectors(activations)


@final
@dataclass(frozen=True, eq=False)
class Secretive(dla.Write):
    """A write that does not say that it reads the scale of its norm."""

    original: dla.Write

    @property
    def labels(self) -> Sequence[dla.Label]:
        return self.original.labels

    @property
    def reads(self) -> tuple[dla.Site, ...]:
        return self.original.reads[:1]

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        return self.original.contract(activations, direction)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        return self.original.vectors(activations)


@final
@dataclass(frozen=True, eq=False)
class AlteredDirection(dla.Direction):
    """A direction that resolves to something else than it should."""

    original: dla.Direction
    alter: Callable[[ResolvedDirection], ResolvedDirection]

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        return self.alter(self.original.resolve(prompts, positions))

    def describe(self) -> str:
        return self.original.describe()


def negated(resolved: ResolvedDirection) -> ResolvedDirection:
    return replace(resolved, weights=-resolved.weights)


def summed(resolved: ResolvedDirection) -> ResolvedDirection:
    return replace(resolved, weights=torch.ones_like(resolved.weights))


def first_term_only(resolved: ResolvedDirection) -> ResolvedDirection:
    return replace(resolved, ids=resolved.ids[..., :1], weights=resolved.weights[:1])


def shifted_ids(resolved: ResolvedDirection) -> ResolvedDirection:
    return replace(resolved, ids=resolved.ids + 1)


def swapped_prompts(resolved: ResolvedDirection) -> ResolvedDirection:
    return replace(resolved, ids=resolved.ids.flip(0))
