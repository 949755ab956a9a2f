"""The places of a part, by its label or by the hook name of an activation."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import final

from jaxtyping import Float, Shaped
from torch import Tensor

from dla.adapters.anatomy import Anatomy, Sublayer
from dla.decomposers.members import parts_of_rows
from dla.decomposers.plans import PlanStep
from dla.decomposers.source import quoted_tokens
from dla.edits.places import EditPlace, Slice, Summand
from dla.errors import UnsupportedModelError
from dla.inputs.given import shown
from dla.inputs.prompts import Prompts
from dla.labels import ROUNDING, Label
from dla.text import some_of
from dla.writes import FullOutput, Site, SumOf, Write

_HEAD = re.compile(r"L(\d+)H(\d+)(?: ← (\d+)(?: (.*))?)?", re.DOTALL)
_NEURON = re.compile(r"L(\d+)N(\d+)")


@final
class PlaceFinder:
    """Finds what is edited where a part is named."""

    def __init__(self, anatomy: Anatomy, prompts: Prompts, steps: Sequence[PlanStep]) -> None:
        """Looks nothing up yet.

        Args:
            anatomy: The model's.
            prompts: The prompts, whose tokens are in the names of sources.
            steps: The rows of a decomposition, by which a part that the anatomy does not name is found.
        """
        self._anatomy, self._prompts, self._steps = anatomy, prompts, steps
        self._d_model = anatomy.unembedding.W_U.shape[0]

    def places(self, part: str) -> list[EditPlace]:
        """Where a part writes: one place, or one for each member of a group.

        Args:
            part: A label as text, or the hook name of a stream, of a sublayer's output, of `z` or of `post`.

        Raises:
            ValueError: If there is no such part or activation.
            UnsupportedModelError: If it is known and cannot be edited; says why.
        """
        activation = next((site for site in self._activations() if site.name == part), None)
        if activation is not None:
            return [Slice(activation, _all_of)]
        found = self._by_label(part)
        if found is not None:
            return [found]
        return list(self._of_members(part)) or [self._summand(part)]

    def _activations(self) -> Iterator[Site]:
        """The activations that may be named by their hooks."""
        for block in self._anatomy.blocks:
            yield from (
                stream.site for stream in (block.resid_pre, block.resid_mid, block.resid_post) if stream is not None
            )
            for sublayer in block.sublayers:
                yield from (site for site, _ in sublayer.outputs)
                yield from () if sublayer.heads is None else [sublayer.heads.z]
                yield from () if sublayer.neurons is None else [sublayer.neurons.post]
        yield from (site for write in self._anatomy.embeddings for site in write.reads)

    def _by_label(self, part: str) -> EditPlace | None:
        for write in self._anatomy.embeddings:
            if isinstance(write, FullOutput) and str(write.label) == part:
                return Slice(write.site, _all_of)
        for sublayer in (sublayer for block in self._anatomy.blocks for sublayer in block.sublayers):
            if str(sublayer.write.labels[0]) == part:
                site, _ = _output(sublayer, part)
                return Slice(site, _all_of)
        head, neuron = _HEAD.fullmatch(part), _NEURON.fullmatch(part)
        if head is not None:
            self._check_token(part, head[3], head[4])
            return self._head(part, int(head[1]), int(head[2]), None if head[3] is None else int(head[3]))
        return None if neuron is None else self._neuron(part, int(neuron[1]), int(neuron[2]))

    def _check_token(self, part: str, source: str | None, token: str | None) -> None:
        known = quoted_tokens(self._prompts)
        if source is None or token is None or int(source) >= len(known) or token == known[int(source)]:
            return
        there = known[int(source)] or "another token in each prompt"
        raise ValueError(f"There is no part {shown(part)}: at position {source} there is {there}.")

    def _head(self, part: str, layer: int, head: int, source: int | None) -> EditPlace | None:
        for heads in (sublayer.heads for sublayer in self._sublayers(part, layer) if sublayer.heads is not None):
            if head >= heads.W_O.shape[0]:
                raise ValueError(f"There is no part {part!r}: layer {layer} has {heads.W_O.shape[0]} heads.")
            if source is None:
                return Slice(heads.z, partial(_of_head, head))
            if heads.values is not None:
                return Slice(heads.values.pattern, partial(_of_source, head, source))
        return None

    def _neuron(self, part: str, layer: int, neuron: int) -> EditPlace | None:
        for neurons in (s.neurons for s in self._sublayers(part, layer) if s.neurons is not None):
            if neuron >= len(neurons.W_out):
                raise ValueError(f"There is no part {part!r}: layer {layer} has {len(neurons.W_out)} neurons.")
            return Slice(neurons.post, partial(_of_neuron, neuron))
        return None

    def _sublayers(self, part: str, layer: int) -> Sequence[Sublayer]:
        if layer >= len(self._anatomy.blocks):
            raise ValueError(f"There is no part {part!r}: the model has {len(self._anatomy.blocks)} layers.")
        return self._anatomy.blocks[layer].sublayers

    def _of_members(self, part: str) -> Iterator[EditPlace]:
        """The places of the parts that a row of the decomposition is the sum of, each once."""
        seen = {part}
        for step in self._steps:
            for row, parts in parts_of_rows(step).items():
                members = [(i, label) for i in parts for label in _summed(step.write, i) if str(label) not in seen]
                if str(row) != part or not members:
                    continue
                seen |= {str(label) for _, label in members}
                if any(label.source is not None for _, label in members):
                    # The pattern weighs the value bias too, which is another row: several sources are taken out of the
                    # output.
                    site, multiplier = self._where(members[0][1], part, ())
                    yield Summand(site, multiplier, step.write, [i for i, _ in members], self._d_model)
                else:
                    yield from (place for _, label in members for place in self.places(str(label)))

    def _summand(self, part: str) -> Summand:
        if part == ROUNDING:
            raise UnsupportedModelError(
                f"{part!r} holds what many steps of the model round away; that is no part that could be edited."
            )
        for write in (step.write for step in self._steps):
            for i, label in enumerate(write.labels):
                if str(label) == part:
                    site, multiplier = self._where(label, part, [site.name for site in write.reads])
                    return Summand(site, multiplier, write, [i], self._d_model)
        known = [str(label) for step in self._steps for label in step.write.labels]
        raise ValueError(
            f"There is no part {shown(part)}, and no activation of that hook name that becomes part of the stream. "
            f"Parts are {some_of(known)}."
        )

    def _where(self, label: Label, part: str, reads: Sequence[str]) -> tuple[Site, float]:
        """The activation that a part is a summand of, and what multiplies it on the way to the stream."""
        above = tuple(label.path())
        for block in self._anatomy.blocks:
            for sublayer in block.sublayers:
                if sublayer.write.labels[0] in above:
                    return _output(sublayer, part, reads)
            for stream in (block.resid_pre, block.resid_mid, block.resid_post):
                if stream is not None and stream.label in above:
                    return stream.site, stream.route.multiplier
        raise UnsupportedModelError(
            f"It is not known where {part!r} is added to the stream, so it cannot be edited. Give its label the "
            "sublayer that it is a piece of as parent=..."
        )


def _output(sublayer: Sublayer, part: str, reads: Sequence[str] = ()) -> tuple[Site, float]:
    """The activation of a sublayer that is added to the stream as it is, but for a constant factor.

    Under the hook name that the part itself reads, if there are several.
    """
    write = sublayer.write
    own = [(write.site, write.route)] if isinstance(write, FullOutput) else []
    direct = [(site, route.multiplier) for site, route in (*own, *sublayer.outputs) if route.norm is None]
    if not direct:
        raise UnsupportedModelError(
            f"{part!r} cannot be edited: no hook of this model shows what {str(write.labels[0])!r} adds to the stream."
        )
    return next((found for found in direct if found[0].name in reads), direct[0])


def _summed(write: Write, part: int) -> Sequence[Label]:
    if isinstance(write, SumOf):
        return [label for inner in write.writes for label in inner.labels]
    return [write.labels[part]]


def _all_of(activation: Shaped[Tensor, "batch pos ..."]) -> Shaped[Tensor, "batch pos width"]:
    return activation.flatten(2)


def _of_head(head: int, z: Float[Tensor, "batch pos head d_head"]) -> Float[Tensor, "batch pos d_head"]:
    return z[:, :, head]


def _of_source(head: int, source: int, pattern: Float[Tensor, "batch head pos source"]) -> Float[Tensor, "batch pos 1"]:
    if source >= pattern.shape[-1]:
        raise ValueError(f"There is no source {source}: the prompts have {pattern.shape[-1]} tokens.")
    return pattern[:, head, :, source, None]


def _of_neuron(neuron: int, post: Float[Tensor, "batch pos neuron"]) -> Float[Tensor, "batch pos 1"]:
    return post[:, :, neuron, None]
