"""Directions pulled back through a sublayer: from what it wrote to what it read, with everything else frozen.

Frozen are attention patterns, the scales of norms, and in an MLP what its rule says. Then all that a sublayer writes is
linear in the stream that it read, up to a constant.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters.affine import Affine
from dla.adapters.anatomy import Heads, Neurons
from dla.adapters.reads import ExpertReads, HeadReads, NeuronReads, StreamEntry, secant
from dla.engine.frozen import FrozenRun
from dla.engine.rules import Rule
from dla.writes import ExpertWrites
from dla.writes.routes import Route
from dla.writes.sites import take_rows


@final
@dataclass(frozen=True, eq=False)
class PulledBack:
    """A direction on what a sublayer wrote, as one on the stream that it read.

    Attributes:
        direction: It reads the stream at the entry, at each position.
        constant: What it reads of biases there: the same whatever the stream holds.
        measured: The direction on what was made of the stream (values, activations), times what was made: the truth
            that `direction · stream + constant` is compared with.
        size: How large the numbers are that cancel in it.
    """

    direction: Float[Tensor, "batch pos d_model"]
    constant: Float[Tensor, "batch pos"]
    measured: Float[Tensor, "batch pos"]
    size: Float[Tensor, "batch pos"]

    def __add__(self, other: "PulledBack") -> "PulledBack":
        return PulledBack(
            self.direction + other.direction,
            self.constant + other.constant,
            self.measured + other.measured,
            self.size + other.size,
        )

    def plus(self, written: Float[Tensor, "batch pos"]) -> "PulledBack":
        """With something that was written by itself, such as an output bias."""
        return replace(
            self,
            constant=self.constant + written,
            measured=self.measured + written,
            size=self.size + written.abs(),
        )

    def at(self, rows: Int[Tensor, "batch query"]) -> "PulledBack":
        """The same at some positions; at all others nothing is read."""
        taken = (take_rows(each, rows, 1) for each in (self.direction, self.constant, self.measured, self.size))
        return PulledBack(*taken)


def through_route(
    direction: Float[Tensor, "batch pos d_model"], route: Route, run: FrozenRun
) -> Float[Tensor, "batch pos d_model"]:
    """A direction on the final stream, as one on a sublayer's own output, before any post-norm."""
    pulled = route.pull_back(direction)
    return pulled if route.norm is None else pulled / run[route.norm.scale].unsqueeze(-1)


def to_z(output: Float[Tensor, "batch pos d_model"], heads: Heads) -> Float[Tensor, "batch pos head d_head"]:
    """A direction on the output of attention, as one on `z`."""
    return torch.einsum("bpd,hid->bphi", output, heads.W_O.detach().to(output))


def to_post(output: Float[Tensor, "batch pos d_model"], neurons: Neurons) -> Float[Tensor, "batch pos neuron"]:
    """A direction on the output of an MLP, as one on its activations."""
    return output @ neurons.W_out.detach().to(output).T


def to_outputs(
    output: Float[Tensor, "batch pos d_model"], write: ExpertWrites, run: FrozenRun
) -> Float[Tensor, "batch pos slot d_model"]:
    """A direction on the output of a mixture, as one on what each expert of a token puts out."""
    weights = torch.stack([weight for _, weight in write.slots(run)], -1)
    return weights.unsqueeze(-1) * output.unsqueeze(-2)


def to_values(
    z: Float[Tensor, "batch pos head d_head"], heads: Heads, run: FrozenRun
) -> Float[Tensor, "batch source group d_head"]:
    """A direction on `z`, as one on the values: `Σ_q pattern[h, q, s] * direction[q, h]`, added up by group."""
    assert heads.values is not None
    pattern, groups = run[heads.values.pattern], run[heads.values.v].shape[2]
    used = z.abs().amax((0, 1, 3)).nonzero().flatten().tolist()
    values = z.new_zeros(z.shape[0], pattern.shape[-1], groups, z.shape[-1])
    if len(used) == z.shape[2]:
        each: Tensor = torch.einsum("bhqs,bqhi->bshi", pattern, z).unflatten(2, (groups, -1))
        return each.sum(3)
    for head in used:  # most traces are of one head
        values[:, :, head * groups // z.shape[2]] += pattern[:, head].mT @ z[:, :, head]
    return values


def from_values(
    values: Float[Tensor, "batch source group d_head"],
    heads: Heads,
    reads: HeadReads,
    run: FrozenRun,
    without_bias: bool = False,
) -> PulledBack:
    """A direction on the values, pulled back to the stream.

    Args:
        values: The direction.
        heads: The heads.
        reads: What they read.
        run: The run.
        without_bias: Whether the value bias is no part of what is traced, as in a row of one source.
    """
    assert heads.values is not None
    v, bias = run[heads.values.v], heads.values.b_V
    if without_bias and bias is not None:
        v = v - bias.to(v)
    affine = replace(reads.values, bias=None) if without_bias else reads.values
    flat = values.flatten(2)
    entered, constant = _entered(flat, affine, reads.entry)
    return PulledBack(
        reads.entry.pull_back(entered, run),
        constant,
        (values * v).sum((-1, -2)),
        values.flatten(2).norm(dim=-1) * v.flatten(2).norm(dim=-1),
    )


def from_post(
    post: Float[Tensor, "batch pos neuron"], neurons: Neurons, reads: NeuronReads, rule: Rule, run: FrozenRun
) -> PulledBack:
    """A direction on the activations of an MLP, pulled back to the stream.

    Args:
        post: The direction.
        neurons: The neurons.
        reads: What they read.
        rule: How their activations are read as linear.
        run: The run.
    """
    seen, pre = run[neurons.post], run[reads.pre.site]
    made = seen if reads.bias is None else seen - reads.bias.to(seen)
    up = None if reads.up is None else run[reads.up.site]
    matrices = reads.pre.affine, None if reads.up is None else reads.up.affine
    entered, constant = from_activations(post, made, reads.act, (pre, up), matrices, rule)
    constant = constant + reads.entry.constant(entered)
    return PulledBack(
        reads.entry.pull_back(entered, run),
        constant if reads.bias is None else constant + post @ reads.bias.to(post),
        (post * seen).sum(-1),
        post.norm(dim=-1) * seen.norm(dim=-1),
    )


def from_activations(
    post: Float[Tensor, "*more neuron"],
    made: Float[Tensor, "*more neuron"],
    act: Callable[[Float[Tensor, "*shape"]], Float[Tensor, "*shape"]],
    read: tuple[Float[Tensor, "*more neuron"], Float[Tensor, "*more neuron"] | None],
    matrices: tuple[Affine, Affine | None],
    rule: Rule,
) -> tuple[Float[Tensor, "*more d_in"], Float[Tensor, "*more"]]:
    """A direction on `made = act(pre) * up`, as one on what `pre` and `up` are made of, and what is read of biases.

    Args:
        post: The direction.
        made: What it reads.
        act: The activation function.
        read: `pre`, and `up` where there is a gate.
        matrices: What makes them.
        rule: How `made` is read as linear.
    """
    (pre, up), (to_pre, to_up) = read, matrices
    through_pre = 1.0 if rule.frozen_gate is None else 1.0 - rule.frozen_gate
    on_pre = through_pre * post * secant(made, pre)
    entered, constant = to_pre.pull_back(on_pre), to_pre.constant(on_pre)
    if up is not None and to_up is not None and rule.frozen_gate:
        on_up = rule.frozen_gate * post * torch.where(up == 0, act(pre), secant(made, up))
        entered, constant = entered + to_up.pull_back(on_up), constant + to_up.constant(on_up)
    # A multiple of 0 explains nothing: what was written there came of nothing that was read.
    return entered, constant + (post * through_pre * made.masked_fill(pre != 0, 0.0)).sum(-1)


def from_outputs(
    outputs: Float[Tensor, "batch pos slot d_model"],
    write: ExpertWrites,
    reads: ExpertReads,
    rule: Rule,
    run: FrozenRun,
) -> PulledBack:
    """A direction on what the experts of each token put out, pulled back to the stream; what they weigh is frozen.

    Args:
        outputs: The direction.
        write: The experts.
        reads: What they read.
        rule: How their activations are read as linear.
        run: The run.
    """
    x, made = run[write.x], write.made(run)
    parts = torch.stack([index for index, _ in write.slots(run)], -1)
    asked = outputs.ne(0).any(-1)
    entered, constant, size = torch.zeros_like(x), x.new_zeros(x.shape[:2]), x.new_zeros(x.shape[:2])
    for part in parts[asked].unique().tolist():
        batch, pos, slot = (asked & (parts == part)).nonzero(as_tuple=True)
        expert = reads.shared if part == len(reads.experts) else reads.experts[part]
        assert expert is not None
        direction, one = outputs[batch, pos, slot], x[batch, pos]
        pre, up = expert.pre.of(one), None if expert.up is None else expert.up.of(one)
        inside = expert.act(pre) if up is None else expert.act(pre) * up
        on_inside = expert.down.pull_back(direction)
        read, biases = from_activations(on_inside, inside, expert.act, (pre, up), (expert.pre, expert.up), rule)
        at = (batch, pos)
        entered.index_put_(at, read, accumulate=True)
        constant.index_put_(at, biases + expert.down.constant(direction), accumulate=True)
        size.index_put_(at, on_inside.norm(dim=-1) * inside.norm(dim=-1), accumulate=True)
    return PulledBack(
        reads.entry.pull_back(entered, run),
        constant + reads.entry.constant(entered),
        (outputs * made).sum((-1, -2)),
        size + (outputs.norm(dim=-1) * made.norm(dim=-1)).sum(-1),
    )


def _entered(
    direction: Float[Tensor, "batch pos d_out"], affine: Affine, entry: StreamEntry
) -> tuple[Float[Tensor, "batch pos d_model"], Float[Tensor, "batch pos"]]:
    """A direction on what was made of the sublayer's input, as one on that input, and what it reads of biases."""
    entered = affine.pull_back(direction)
    return entered, affine.constant(direction) + entry.constant(entered)
