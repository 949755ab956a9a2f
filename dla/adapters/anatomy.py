"""The anatomy of a model: everything that writes to its residual stream.

An adapter finds it out once. Decomposers read it to make their plans; it holds weights, never activations.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.unembedding import Unembedding
from dla.labels import Label
from dla.writes import (
    Constant,
    ExpertWrites,
    FullOutput,
    HeadWrites,
    NeuronWrites,
    Write,
)
from dla.writes.routes import DIRECT, Route
from dla.writes.sites import Site


class PieceKind(enum.StrEnum):
    """The kinds of pieces that a sublayer may have, in the words of messages."""

    HEADS = "attention heads"
    SOURCES = "sources of attention heads"
    NEURONS = "neurons"
    EXPERTS = "experts"


@final
@dataclass(frozen=True, eq=False)
class Values:
    """What attention heads read: `z[q, h] = Σ_s pattern[h, q, s] * v[s, h]`.

    Attributes:
        pattern: Where the attention pattern is read, `[batch head pos source]`.
        v: Where the values are read, `[batch source group d_head]`; consecutive heads share a group.
        b_V: The value bias, which `v` includes; None if there is none.
        rounding: What adding up the sources rounds away, in half precision; a piece of each head.
    """

    pattern: Site
    v: Site
    b_V: Float[Tensor, "group d_head"] | None
    rounding: tuple[Write, ...] = ()


@final
@dataclass(frozen=True, eq=False)
class Heads:
    """An attention sublayer, seen head by head: `Σ_h z[h] @ W_O[h] + b_O`, then its route to the stream.

    Attributes:
        label: The sublayer's.
        z: Where `z` is read, `[batch pos head d_head]`.
        W_O: The output weight.
        b_O: The output bias; None if there is none.
        route: From the sublayer's output to the stream, post-norm included.
        values: What the heads read; None where it does not add up to `z`.
        rounding: What adding up the heads rounds away, in half precision; a piece of the sublayer.
    """

    label: Label
    z: Site
    W_O: Float[Tensor, "head d_head d_model"]
    b_O: Float[Tensor, " d_model"] | None
    route: Route = DIRECT
    values: Values | None = None
    rounding: tuple[Write, ...] = ()

    @property
    def labels(self) -> list[Label]:
        """One label per head."""
        return [Label("head", self.label.layer, head, parent=self.label) for head in range(self.W_O.shape[0])]

    def write(self) -> HeadWrites:
        """All heads, each as a part."""
        return HeadWrites(self.z, self.W_O, self.labels, self.route)

    def biases(self) -> Sequence[Write]:
        """What no head writes: `b_O`, the bias of a post-norm, what is rounded away."""
        return [*biases(self.b_O, "b_O", self.label, self.route, "ln1_post_b"), *self.rounding]

    def writes(self) -> Sequence[Write]:
        """All of the sublayer."""
        return [self.write(), *self.biases()]


@final
@dataclass(frozen=True, eq=False)
class Neurons:
    """An MLP sublayer, seen neuron by neuron: `Σ_n post[n] * W_out[n] + b_out`, then its route to the stream.

    Attributes:
        label: The sublayer's.
        post: Where the neurons' activations are read, `[batch pos neuron]`.
        W_out: The output weight.
        b_out: The output bias; None if there is none.
        route: From the sublayer's output to the stream, post-norm included.
        rounding: What adding up the neurons rounds away, in half precision; a piece of the sublayer.
    """

    label: Label
    post: Site
    W_out: Float[Tensor, "neuron d_model"]
    b_out: Float[Tensor, " d_model"] | None
    route: Route = DIRECT
    rounding: tuple[Write, ...] = ()

    def write(self) -> NeuronWrites:
        """All neurons, each as a part."""
        layer = self.label.layer
        labels = [Label("neuron", layer, neuron, parent=self.label) for neuron in range(self.W_out.shape[0])]
        return NeuronWrites(self.post, self.W_out, labels, self.route)

    def biases(self) -> Sequence[Write]:
        """What no neuron writes: `b_out`, the bias of a post-norm, what is rounded away."""
        return [*biases(self.b_out, "b_out", self.label, self.route, "ln2_post_b"), *self.rounding]

    def writes(self) -> Sequence[Write]:
        """All of the sublayer."""
        return [self.write(), *self.biases()]


@final
@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of experts, seen expert by expert.

    Attributes:
        label: The sublayer's.
        experts: The experts, with the shared ones.
        rounding: What adding up the experts rounds away, in half precision; a piece of the sublayer.
    """

    label: Label
    experts: ExpertWrites
    rounding: tuple[Write, ...] = ()

    @property
    def route(self) -> Route:
        """From the sublayer's output to the stream, post-norm included."""
        return self.experts.route

    def biases(self) -> Sequence[Write]:
        """What no expert writes: the bias of a post-norm, what is rounded away."""
        return [*biases(None, "b_out", self.label, self.route, "ln2_post_b"), *self.rounding]

    def writes(self) -> Sequence[Write]:
        """All of the sublayer."""
        return [self.experts, *self.biases()]


@final
@dataclass(frozen=True, eq=False)
class Sublayer:
    """Something that a block adds to the stream: attention, an MLP, a mixture of experts, a state-space mixer.

    Attributes:
        write: All of it, as one part.
        heads: Its heads; None if it has none whose writes are known to add up to it.
        neurons: Its neurons, likewise.
        experts: Its experts, likewise.
        outputs: The sites that show its output, before or after a post-norm, each with the route to the stream.
        rounding: What adding it to the stream rounds away, in half precision.
        reasons: Why it has no pieces of some kind, where something looked like them: a clause for each `PieceKind`.
    """

    write: Write
    heads: Heads | None = None
    neurons: Neurons | None = None
    experts: Mixture | None = None
    outputs: tuple[tuple[Site, Route], ...] = ()
    rounding: tuple[Write, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)


@final
@dataclass(frozen=True, eq=False)
class Block:
    """One block: its sublayers in the order in which they run, and its streams in the units of the final stream.

    Attributes:
        sublayers: What it adds.
        resid_pre: The stream before it.
        resid_mid: The stream between attention and MLP; None where there is no such place.
        resid_post: The stream after it.
    """

    sublayers: tuple[Sublayer, ...]
    resid_pre: FullOutput
    resid_mid: FullOutput | None
    resid_post: FullOutput

    def writes(self, up_to: int | None = None) -> tuple[Write, ...]:
        """The first `up_to` sublayers, or all: each as one part, and what adding them to the stream rounds away."""
        return tuple(write for sub in self.sublayers[:up_to] for write in (sub.write, *sub.rounding))


@final
@dataclass(frozen=True, eq=False)
class Anatomy:
    """What is known of a model before any prompt is attributed.

    Attributes:
        name: The model's name.
        embeddings: What the stream holds before the first block.
        blocks: The blocks in order.
        unembedding: How the last stream becomes logits.
        eps: The rounding unit of the least exact step of the model that has no row of its own: that of float32 for a
            model in half precision, whose rounding is a row.
        dtype: The coarsest dtype of an activation.
        mismatches: How the model that runs differs from its checkpoint, one sentence per difference.
        compatibility: Whether TransformerLens' compatibility mode has rewritten the model.
    """

    name: str
    embeddings: tuple[Write, ...]
    blocks: tuple[Block, ...]
    unembedding: Unembedding
    eps: float
    dtype: torch.dtype = torch.float32
    mismatches: tuple[str, ...] = ()
    compatibility: bool = False


def biases(
    bias: Float[Tensor, " d_model"] | None, kind: str, of: Label, route: Route, norm_kind: str
) -> Sequence[Write]:
    """A sublayer's output bias and its post-norm's bias as rows, where they exist.

    Args:
        bias: The output bias.
        kind: The kind of its label, such as "b_O".
        of: The sublayer.
        route: From the sublayer's output to the stream.
        norm_kind: The kind of the label of the post-norm's bias.
    """
    rows: list[Write] = []
    if bias is not None:
        rows.append(Constant(bias, Label(kind, of.layer, parent=of), route))
    if route.norm is not None and route.norm.bias is not None:
        # Added after the norm, so only the constants that follow apply to it.
        label = Label(norm_kind, of.layer, parent=of)
        rows.append(Constant(route.norm.bias, label, DIRECT.after(route.multiplier)))
    return rows


def full_output(site: Site, label: Label, multiplier: float = 1.0) -> FullOutput:
    """An activation that is added to the stream unchanged, but for a constant factor.

    Args:
        site: Where it is read.
        label: The part's.
        multiplier: The factor.
    """
    return FullOutput(site, label, DIRECT.after(multiplier))
