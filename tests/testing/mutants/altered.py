"""One thing changed in an anatomy, a plan, a write or a direction: the material of deliberate mistakes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

import dla
from dla.adapters import Anatomy, Heads, Sublayer
from dla.directions import ResolvedDirection
from dla.inputs import Positions, Prompts
from dla.testing.altered_adapter import AlterAnatomy
from dla.writes import Activations

AlterPlan = Callable[[list[Any], dla.ModelAdapter], Sequence[Any]]


def with_readout(**changes: Any) -> AlterAnatomy:
    """Another unembedding."""
    return lambda anatomy: replace(anatomy, unembedding=replace(anatomy.unembedding, **changes))


def with_norm(change: Callable[[dla.Norm], dla.Norm]) -> AlterAnatomy:
    """Another final norm."""

    def alter(anatomy: Anatomy) -> Anatomy:
        assert anatomy.unembedding.norm is not None
        return with_readout(norm=change(anatomy.unembedding.norm))(anatomy)

    return alter


def with_scale(change: Callable[[Tensor], Tensor]) -> AlterAnatomy:
    """The final norm's scale read wrongly."""

    def alter(norm: dla.Norm) -> dla.Norm:
        return replace(norm, scale=replace(norm.scale, read=lambda scale: change(norm.scale.read(scale))))

    return with_norm(alter)


def with_sublayers(change: Callable[[Sublayer], Sublayer]) -> AlterAnatomy:
    """The same mistake about every sublayer."""

    def alter(anatomy: Anatomy) -> Anatomy:
        blocks = [replace(block, sublayers=tuple(map(change, block.sublayers))) for block in anatomy.blocks]
        return replace(anatomy, blocks=tuple(blocks))

    return alter


def with_heads(change: Callable[[Heads], Heads]) -> AlterAnatomy:
    """The same mistake about the heads of every block."""
    return with_sublayers(lambda s: s if s.heads is None else replace(s, heads=change(s.heads)))


@final
@dataclass(frozen=True)
class AlteredDecomposer(dla.Decomposer):
    """A decomposer that makes a mistake in another one's plan."""

    original: dla.Decomposer
    alter: AlterPlan

    @property
    def row_kind(self) -> dla.RowKind:  # type: ignore[override]  # an attribute of the class in all others
        return self.original.row_kind

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return self.alter(list(self.original.writes(model)), model)


def without(kind: str, layer: int | None = None) -> AlterPlan:
    """Forgets the writes of a kind, of one layer or of all."""

    def alter(plan: list[dla.Write], _: dla.ModelAdapter) -> list[dla.Write]:
        def forgotten(write: dla.Write) -> bool:
            return any(label.kind == kind and layer in (None, label.layer) for label in write.labels)

        assert any(forgotten(write) for write in plan)
        return [write for write in plan if not forgotten(write)]

    return alter


def each_of_heads(change: Callable[[dla.HeadWrites], dla.Write]) -> AlterPlan:
    """The same mistake about the heads of every layer."""
    return lambda plan, _: [change(write) if isinstance(write, dla.HeadWrites) else write for write in plan]


def contract_as_it_is(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
    """What the write itself contracts."""
    return write.contract(activations, direction)


def show_as_it_is(write: dla.Write, activations: Activations) -> Tensor:
    """The vectors that the write itself shows."""
    return write.vectors(activations)


@final
@dataclass(frozen=True, eq=False)
class AlteredWrite(dla.Write):
    """A write, contracted, shown or declared by rules of one's own."""

    original: Any
    contracting: Callable[[Any, Activations, Tensor], Tensor] = contract_as_it_is
    showing: Callable[[Any, Activations], Tensor] = show_as_it_is
    declared: Sequence[dla.Site] | None = None

    @property
    def labels(self) -> Sequence[dla.Label]:
        return self.original.labels

    @property
    def reads(self) -> tuple[dla.Site, ...]:
        return self.original.reads if self.declared is None else tuple(dict.fromkeys(self.declared))

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        return self.contracting(self.original, activations, direction)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        return self.showing(self.original, activations)


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
