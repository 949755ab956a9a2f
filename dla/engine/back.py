"""All the way back: a direction pulled back sublayer by sublayer through a frozen run, to a place of the stream.

At every place what the direction reads of the stream, of the biases that it met, and of the sublayers through which it
could not be pulled back, is the logit. One run and one walk backwards, whatever the depth.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.anatomy import Sublayer
from dla.adapters.base import ModelAdapter
from dla.engine.frozen import FrozenRun
from dla.engine.rules import Rule, as_rule, rule_for
from dla.engine.shown import NotTraced, Shown
from dla.engine.traced import reads_of, whole_output
from dla.engine.traced_features import gated
from dla.errors import UnsupportedModelError
from dla.inputs.given import shown as told
from dla.labels import Label
from dla.writes import FullOutput, Write

Meet = Callable[[Label, Float[Tensor, "batch pos d_model"]], None]
"""Called with each sublayer, and with the direction that reads what it wrote through all paths."""


@final
@dataclass(frozen=True, eq=False)
class Place:
    """A place of the stream where a walk ends: before a sublayer.

    Attributes:
        writes: What stands there; together it is the stream.
        layer: The block of the last sublayer that is walked through.
        sublayer: Its number in that block; as many as there are for the place after the block.
    """

    writes: tuple[Write, ...]
    layer: int
    sublayer: int


def place_at(model: ModelAdapter, to: object) -> Place:
    """The place with a name.

    Args:
        model: The model.
        to: "tokens" for the embeddings, or the hook name of a stream.

    Raises:
        TypeError: If it is no text.
        ValueError: If there is no such place in the model.
    """
    if not isinstance(to, str):
        raise TypeError(f"to={told(to)} is not a place. Pass 'tokens', or the hook name of a residual stream.")
    blocks = model.anatomy.blocks
    if to == "tokens":
        return Place(model.embeddings(), 0, 0)
    for layer, block in enumerate(blocks):
        mid = [] if block.resid_mid is None else [(block.resid_mid, 1)]
        for stream, sublayer in ((block.resid_pre, 0), *mid, (block.resid_post, len(block.sublayers))):
            if stream.site.name == to:
                return Place((stream,), layer, sublayer)
    raise ValueError(
        f"to={told(to)} is no place of the stream before what the result is about. Pass 'tokens', or the hook name of "
        f"an earlier stream, such as {blocks[0].resid_pre.site.name!r}."
    )


@final
@dataclass(eq=False)
class Walked:
    """How far a walk has come.

    Attributes:
        direction: What reads the stream where it stands, in the units of the final stream.
        biases: What was read of biases on the way, and of what is rounded away.
        size: How large the numbers are that cancel.
        leaves: What was read of each sublayer through which there is no way.
    """

    direction: Float[Tensor, "batch pos d_model"]
    biases: Float[Tensor, " batch"]
    size: Float[Tensor, " batch"]
    leaves: list[tuple[Label, Float[Tensor, " batch"]]] = field(default_factory=list)


@final
class Walk:
    """A way back through the sublayers of a model, from its end to a place."""

    def __init__(self, model: ModelAdapter, place: Place, rule: Rule | None) -> None:
        """Plans the way; nothing runs.

        Args:
            model: The model, up to the place that is asked about.
            place: Where the walk ends.
            rule: How gated MLPs are read as linear; None where there is none.

        Raises:
            TypeError: If the rule is none.
            UnsupportedModelError: If the adapter does not say what sublayers read.
            ValueError: If the rule does not fit the MLPs.
        """
        self._place, reads = place, reads_of(model)
        self._blocks = [
            (block, [whole_output(*each) for each in zip(block.sublayers, of_block, strict=False)])
            for block, of_block in zip(model.anatomy.blocks, reads, strict=False)  # the model may end earlier
        ]
        self._rule = self._fitting(rule)

    def names(self) -> set[str]:
        """The hooks that the walk reads."""
        sites = [site for write in self._place.writes for site in write.reads]
        for sublayer, shown in self._met():
            writes = [*sublayer.rounding, *([sublayer.write] if isinstance(shown, NotTraced) else [])]
            sites += [*shown.sites, *(site for write in writes for site in write.reads)]
        return {site.name for site in sites}

    def back(self, end: Float[Tensor, "batch pos d_model"], run: FrozenRun, meet: Meet | None = None) -> Walked:
        """Walks.

        Args:
            end: What reads the stream at the model's end, in the units of the final stream.
            run: A run that shows what `names` says.
            meet: What is called with each sublayer that is met.

        Raises:
            UnsupportedModelError: If a sublayer after the place reads a stream before it.
        """
        none = end.new_zeros(len(end))
        walked = Walked(end, none, none)
        for layer in reversed(range(self._place.layer, len(self._blocks))):
            block, shown = self._blocks[layer]
            before, first = torch.zeros_like(end), self._first(layer)
            for k in reversed(range(first, len(shown))):
                if meet is not None:
                    meet(block.sublayers[k].write.labels[0], walked.direction)
                stream, direction = self._through(block.sublayers[k], shown[k], walked, run)
                if stream is block.resid_pre:
                    before = before + direction
                elif stream is not None:
                    walked.direction = walked.direction + direction
            if first and bool(before.any()):
                raise UnsupportedModelError(
                    f"A sublayer of block {layer} after the place reads the stream before the place. Pass "
                    f"to={block.resid_pre.site.name!r}."
                )
            walked.direction = walked.direction + before
        return walked

    def _first(self, layer: int) -> int:
        return self._place.sublayer if layer == self._place.layer else 0

    def _met(self) -> Iterator[tuple[Sublayer, Shown]]:
        for layer in range(self._place.layer, len(self._blocks)):
            block, shown = self._blocks[layer]
            yield from list(zip(block.sublayers, shown, strict=False))[self._first(layer) :]

    def _through(
        self, sublayer: Sublayer, shown: Shown, walked: Walked, run: FrozenRun
    ) -> tuple[FullOutput | None, Float[Tensor, "batch pos d_model"]]:
        """The stream that a sublayer reads, and what reads it there; None where there is no way through it."""
        here = walked.direction
        for write in sublayer.rounding:
            walked.biases = walked.biases + write.contract(run, here).sum((-3, -1))
        if isinstance(shown, NotTraced):
            value = sublayer.write.contract(run, here).sum((-3, -1))
            walked.leaves.append((sublayer.write.labels[0], value))
            walked.size = walked.size + value.abs()
            return None, here
        pulled = shown.pulled_back(here, rule_through(shown, self._rule), run)
        walked.biases = walked.biases + pulled.constant.sum(-1)
        walked.size = walked.size + pulled.size.sum(-1)
        stream = shown.entry.stream
        return stream, pulled.direction / stream.route.multiplier

    def _fitting(self, rule: Rule | None) -> Rule | None:
        """The rule, if it fits the MLPs."""
        rule, mlps = as_rule(rule), dict[bool, str]()
        for _, shown in self._met():
            kind = gated(shown)
            if kind is not None:
                mlps.setdefault(kind, shown.name)
        if rule is not None and rule.frozen_gate is not None and True in mlps:
            mlps.pop(False, None)  # there is only one for these
        for kind, name in mlps.items():
            rule_for(rule, kind, name)
        return rule


def rule_through(shown: Shown, rule: Rule | None) -> Rule | None:
    """The rule for one of a model's sublayers: what was asked for where it is gated, else the only one."""
    return rule if gated(shown) else None
