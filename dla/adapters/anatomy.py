"""The anatomy of a model: what writes to its residual stream, and how the stream is read out.

An adapter finds it out once. Decomposers read it to make their plans; it holds weights, never activations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dla.labels import Label
from dla.routes import DIRECT, Norm, Route
from dla.sites import Site
from dla.writes import Constant, Experts, Factored, Scaled, Whole, Write

_SLICE = 8192
"""How many tokens of the vocabulary are looked at together."""


@final
@dataclass(frozen=True, eq=False)
class Values:
    """What attention heads read: `z[q, h] = Σ_s pattern[h, q, s] * v[s, h]`.

    Attributes:
        pattern: Where the attention pattern is read, `[batch head pos source]`.
        v: Where the values are read, `[batch source group d_head]`; each group serves heads that follow each other.
        b_V: The value bias, which is in `v`, `[group d_head]`; None if there is none.
    """

    pattern: Site
    v: Site
    b_V: Float[Tensor, "group d_head"] | None


@final
@dataclass(frozen=True, eq=False)
class Heads:
    """An attention sublayer, seen head by head: `Σ_h z[h] @ W_O[h] + b_O`, then its route to the stream.

    Attributes:
        label: The sublayer's.
        z: Where `z` is read, `[batch pos head d_head]`.
        W_O: `[head d_head d_model]`.
        b_O: The output bias; None if there is none.
        route: From the sublayer's output to the stream, post-norm included.
        values: What the heads read; None where it does not add up to `z`.
    """

    label: Label
    z: Site
    W_O: Float[Tensor, "head d_head d_model"]
    b_O: Float[Tensor, " d_model"] | None
    route: Route = DIRECT
    values: Values | None = None

    @property
    def labels(self) -> list[Label]:
        """The heads'."""
        return [Label("head", self.label.layer, head, parent=self.label) for head in range(self.W_O.shape[0])]

    def write(self) -> Factored:
        """Every head."""
        return Factored(self.z, self.W_O, self.labels, self.route)

    def biases(self) -> Sequence[Write]:
        """What no head writes: `b_O`, and the bias of a post-norm."""
        return biases(self.b_O, "b_O", self.label, self.route, "ln1_post_b")

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
        W_out: `[neuron d_model]`.
        b_out: The output bias; None if there is none.
        route: From the sublayer's output to the stream, post-norm included.
    """

    label: Label
    post: Site
    W_out: Float[Tensor, "neuron d_model"]
    b_out: Float[Tensor, " d_model"] | None
    route: Route = DIRECT

    def write(self) -> Scaled:
        """Every neuron."""
        layer = self.label.layer
        labels = [Label("neuron", layer, neuron, parent=self.label) for neuron in range(self.W_out.shape[0])]
        return Scaled(self.post, self.W_out, labels, self.route)

    def biases(self) -> Sequence[Write]:
        """What no neuron writes: `b_out`, and the bias of a post-norm."""
        return biases(self.b_out, "b_out", self.label, self.route, "ln2_post_b")

    def writes(self) -> Sequence[Write]:
        """All of the sublayer."""
        return [self.write(), *self.biases()]


@final
@dataclass(frozen=True, eq=False)
class Sublayer:
    """One thing that a block adds to the stream: attention, an MLP, a mixture of experts, a state-space mixer.

    Attributes:
        write: All of it, as one part.
        heads: Its heads, if it has heads whose writes add up to it.
        neurons: Its neurons, if it has neurons whose writes add up to it.
        experts: Its experts, if it is a mixture of experts whose writes add up to it.
        outputs: Where its output is seen, before or after a post-norm, and the way to the stream from there.
    """

    write: Write
    heads: Heads | None = None
    neurons: Neurons | None = None
    experts: Experts | None = None
    outputs: tuple[tuple[Site, Route], ...] = ()


@final
@dataclass(frozen=True, eq=False)
class Block:
    """One block: the sublayers that it adds to the stream, in the order in which they run.

    Attributes:
        sublayers: What it adds.
        resid_pre: The stream before it, in the units of the final stream.
        resid_mid: The stream between attention and MLP; None where there is no such place.
        resid_post: The stream after it.
    """

    sublayers: tuple[Sublayer, ...]
    resid_pre: Whole
    resid_mid: Whole | None
    resid_post: Whole


@final
@dataclass(frozen=True, eq=False)
class Unembedding:
    """The readout: final norm, unembedding, output transform.

    Attributes:
        norm: The final norm; None if the model has none.
        W_U: `[d_model d_vocab]`.
        b_U: `[d_vocab]`; None if there is none.
        normalised: Where the unembedding's input is read, `[batch pos d_model]`.
        logits: Where the logits before the output transform are read, `[batch pos d_vocab]`.
        transform: From those logits to what the model returns, element by element (soft cap, logit scale);
            None if it could not be found out, in which case the model must be run.
        multiplier: A constant between the final norm and the unembedding.
        module: What unembeds, so that many positions can be unembedded a few at a time; None where only a run can.
    """

    norm: Norm | None
    W_U: Float[Tensor, "d_model d_vocab"]
    b_U: Float[Tensor, " d_vocab"] | None
    normalised: Site
    logits: Site
    transform: Callable[[Tensor], Tensor] | None
    multiplier: float = 1.0
    module: nn.Module | None = None

    def read_back(self, weights: Float[Tensor, "*more d_vocab"]) -> Float[Tensor, "*more d_model"]:
        """`W_U @ weights`, a slice of the vocabulary at a time: no second `W_U` in the precision of the sums."""
        slices = zip(weights.split(_SLICE, -1), self.W_U.split(_SLICE, -1), strict=True)
        return torch.stack([w @ W_U.T.to(w) for w, W_U in slices]).sum(0)


@final
@dataclass(frozen=True, eq=False)
class Anatomy:
    """What there is to know about a model before anything is asked of it.

    Attributes:
        name: The model's name.
        embeddings: What the stream holds before the first block.
        blocks: The blocks in order.
        unembedding: How the last stream becomes logits.
        eps: The rounding unit of the least exact step in the model's own arithmetic.
        departures: How the model that runs differs from the checkpoint that it was made from, a sentence each; empty
            where nothing of the kind was found.
        compatibility: Whether TransformerLens' compatibility mode has rewritten the model.
    """

    name: str
    embeddings: tuple[Write, ...]
    blocks: tuple[Block, ...]
    unembedding: Unembedding
    eps: float
    departures: tuple[str, ...] = ()
    compatibility: bool = False


def biases(
    bias: Float[Tensor, " d_model"] | None, kind: str, of: Label, route: Route, norm_kind: str
) -> Sequence[Write]:
    """A sublayer's output bias and its post-norm's bias, as rows of their own, where they exist."""
    rows: list[Write] = []
    if bias is not None:
        rows.append(Constant(bias, Label(kind, of.layer, parent=of), route))
    if route.norm is not None and route.norm.bias is not None:
        label = Label(norm_kind, of.layer, parent=of)
        rows.append(Constant(route.norm.bias, label, DIRECT.after(route.multiplier)))
    return rows


def whole(site: Site, label: Label, multiplier: float = 1.0) -> Whole:
    """An activation that is added to the stream as it is, up to a constant factor."""
    return Whole(site, label, DIRECT.after(multiplier))
