"""A block's sublayers, recognised: what each adds, through which norm, by which heads or neurons."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from dla.adapters.anatomy import Heads, Mixture, Neurons, PieceKind, Sublayer, full_output
from dla.adapters.recognise.attention import Unflatten, heads_in, recognise_values
from dla.adapters.recognise.block_sums import BlockSum
from dla.adapters.recognise.experts import recognise_experts
from dla.adapters.recognise.linear import candidate_linears, reader_of
from dla.adapters.recognise.match import (
    Step,
    cast_from,
    constant_factor,
    explained,
    like_stream,
    miss_of_step,
    tensor_of,
)
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.negligible import outputs_of
from dla.adapters.recognise.norms import recognise_norm
from dla.adapters.recognise.recording import Recording
from dla.adapters.recognise.step_rounding import rounding_of, rounding_of_step
from dla.labels import ROUNDING, Label
from dla.writes import Addition, Computation, NormOutput, Write
from dla.writes.routes import DIRECT, Norm, Route
from dla.writes.sites import Site, as_it_is

_Pieces = TypeVar("_Pieces")


@final
@dataclass(frozen=True)
class SublayerOutput:
    """The output of a sublayer.

    Attributes:
        name: The hook that shows what is added to the stream.
        added: What is added.
        put_out: The sublayer's own output, before the norm that it passes, if it passes one.
        label: The sublayer's.
        route: From that output to the stream.
    """

    name: str
    added: Float[Tensor, "batch pos d_model"]
    put_out: Float[Tensor, "batch pos d_model"]
    label: Label
    route: Route


@final
@dataclass(frozen=True)
class BlockRecording:
    """One block of a recording: recognises what its sublayers are made of.

    Attributes:
        model: The model's modules.
        recording: What was seen of all blocks.
        layer: The block's number.
        stream: The stream that enters the block.
    """

    model: ModelModules
    recording: Recording
    layer: int
    stream: Float[Tensor, "batch pos d_model"]

    def sublayer(self, name: str, factor: float, rounding: tuple[Write, ...]) -> Sublayer:
        """The sublayer whose output, after any post-norm, is seen at the hook `name`.

        Args:
            name: The hook.
            factor: What the output is multiplied by on its way to the final stream.
            rounding: What adding it to the stream rounds away.
        """
        added = self._seen(name)
        assert added is not None
        norm, put_out = self._post_norm(added)
        label = Label(self._kind(name, put_out), self.layer, parent=Label("block", self.layer))
        output = SublayerOutput(name, added, put_out, label, Route(norm, factor))
        why: dict[str, str] = {}
        heads, neurons, experts = self._pieces(output, why)
        whole = full_output(self.site(name), label, factor)
        return Sublayer(whole, heads, neurons, experts, tuple(self._outputs(output)), rounding, why)

    def resid_mid(self, block_sum: BlockSum) -> Site | None:
        """Where the stream between the two sublayers is read; None if no hook shows it."""
        # A bridge shows the input of the second norm there, which is not the stream between them in every model.
        name, names = f"blocks.{self.layer}.hook_resid_mid", list(block_sum.factors)
        mid = like_stream(self.recording.activation(name), self.stream)
        if len(names) != 2 or block_sum.carry != 1.0 or mid is None:
            return None
        terms = [(Site(f"blocks.{self.layer}.hook_resid_pre"), 1.0), (self.site(names[0]), block_sum.factors[names[0]])]
        reads = [site for site, _ in terms]
        same = explained(partial(Addition, terms), self.recording.at(reads), mid, *self.recording.dtypes(reads))
        return None if same is None else self.site(name)

    def site(self, name: str, read: Callable[[Shaped[Tensor, "..."]], Shaped[Tensor, "..."]] = as_it_is) -> Site:
        """The site at a hook, with its batch and position axes split where the hook shows them as one."""
        return Site(name, read=read, flattened=self.recording.hooks[name].shape[:2] != self.stream.shape[:2])

    def _seen(self, name: str) -> Shaped[Tensor, "batch pos ..."] | None:
        return like_stream(self.recording.activation(name), self.stream)

    def _post_norm(
        self, added: Float[Tensor, "batch pos d_model"]
    ) -> tuple[Norm | None, Float[Tensor, "batch pos d_model"]]:
        """The norm that the sublayer's output passes before it is added, and that output."""
        for child, module in self.model.children[self.layer].items():
            path = f"blocks.{self.layer}.{child}"
            output = like_stream(self.recording.outputs.get(path), self.stream)
            if output is not None and cast_from(output, added):
                norm = recognise_norm(path, module, self.recording, self.model.centred)
                if norm is not None:
                    return norm, self.recording.inputs[path]
        return None, added

    def _pieces(
        self, output: SublayerOutput, why: dict[str, str]
    ) -> tuple[Heads | None, Neurons | None, Mixture | None]:
        """The heads, neurons and experts that the output is the sum of."""
        found: tuple[Heads | None, Neurons | None, Mixture | None] = (None, None, None)
        for children in self._inner(output):
            heads = (self._heads(child, module, output, why) for child, module in children)
            neurons = (self._neurons(child, module, output, why) for child, module in children)
            experts = (self._experts(child, module, output, why) for child, module in children)
            found = (_first(heads), _first(neurons), _first(experts))
            if any(pieces is not None for pieces in found):
                break
        return found

    def _inner(self, output: SublayerOutput) -> Iterator[list[tuple[str, nn.Module]]]:
        """The modules that may have made the output: those that put it out, then any."""
        children = list(self.model.children[self.layer].items())
        if not bool(output.put_out.any()):
            # Any heads or neurons that write zeros add up to zeros, so only the module of that name can be meant.
            yield [(name, module) for name, module in children if output.label.kind == f"{name}_out"]
            return
        own = [(name, module) for name, module in children if self._puts_out(name, output.put_out)]
        yield from (each for each in (own, [child for child in children if child not in own]) if each)

    def _outputs(self, output: SublayerOutput) -> Iterator[tuple[Site, Route]]:
        """Every hook that shows what is added, or the sublayer's output before its post-norm."""
        for name in outputs_of(self.model, self.layer):
            seen = self._seen(name)
            if seen is None or seen.shape != output.added.shape:
                continue
            factor = constant_factor(seen, output.added)
            if factor is not None:
                yield self.site(name), Route(None, output.route.multiplier * factor)
            elif cast_from(seen, output.put_out):
                yield self.site(name), output.route

    def _kind(self, name: str, output: Float[Tensor, "batch pos d_model"]) -> str:
        """`attn_out`, `mlp_out`, or the name of the child whose output it is, such as `mixer_out`."""
        hook = name.split(".", 2)[2]
        if hook.startswith("hook_"):
            return hook.removeprefix("hook_")
        made = (child for child in self.model.children[self.layer] if self._puts_out(child, output))
        return f"{next(made, hook.split('.')[0])}_out"

    def _puts_out(self, child: str, output: Float[Tensor, "batch pos d_model"]) -> bool:
        """Whether a module of the block puts out what was seen."""
        value = like_stream(self.recording.outputs.get(f"blocks.{self.layer}.{child}"), self.stream)
        return value is not None and cast_from(value, output)

    def _heads(self, child: str, module: nn.Module, output: SublayerOutput, why: dict[str, str]) -> Heads | None:
        """The child's heads, if their writes and the bias are the sublayer's output."""
        path = f"blocks.{self.layer}.{child}"
        z = self._seen(f"{path}.hook_z")
        shape = None if z is None else heads_in(module, z, self.recording.activation(f"{path}.hook_pattern"))
        if shape is None:
            return None
        site = self.site(f"{path}.hook_z", Unflatten(*shape))
        for linear in candidate_linears(
            module, self._reader(child, "hook_z", output), "W_O", "b_O", shape[0] * shape[1]
        ):
            W_O, b_O = linear.weight.unflatten(0, shape), linear.bias
            steps = [linear.product(site), linear.products(site, shape[0])]
            rounding = self._lost_if(site, steps, linear.dtype, output, why, (PieceKind.HEADS, "z @ W_O + b_O"))
            if rounding is None:
                continue
            why.pop(PieceKind.HEADS, None)
            heads = Heads(output.label, site, W_O, b_O, output.route, None, rounding)
            values = recognise_values(path, module, self.recording, site, heads.labels, W_O, output.route)
            if isinstance(values, str):
                why[PieceKind.SOURCES] = values
                if tensor_of(module, "W_O") is not None:
                    return heads
                # Any split of `z` into heads adds up to the output. Without `W_O` only the values show the right one.
                why[PieceKind.HEADS] = values
                return None
            return replace(heads, values=values)
        return None

    def _neurons(self, child: str, module: nn.Module, output: SublayerOutput, why: dict[str, str]) -> Neurons | None:
        """The child's neurons, if their writes and the bias are the sublayer's output."""
        name = f"blocks.{self.layer}.{child}.hook_post"
        post, d_model = self._seen(name), output.put_out.shape[-1]
        if post is None or post.ndim != 3:
            return None
        site = self.site(name)
        for linear in candidate_linears(
            module, self._reader(child, "hook_post", output), "W_out", "b_out", post.shape[-1]
        ):
            steps = [linear.product(site)] if linear.weight.shape[1] == d_model else []
            what = (PieceKind.NEURONS, "post @ W_out + b_out")
            rounding = self._lost_if(site, steps, linear.dtype, output, why, what) if steps else None
            if rounding is not None:
                why.pop(PieceKind.NEURONS, None)
                return Neurons(output.label, site, linear.weight, linear.bias, output.route, rounding)
        return None

    def _reader(self, child: str, hook: str, output: SublayerOutput) -> nn.Module | None:
        """The module that reads a hook inside the child that made the output; None in any other child."""
        # One module is called with as many unit vectors as it has inputs, so the children that cannot be it are not.
        own = output.label.kind == f"{child}_out"
        return reader_of(self.model.children[self.layer][child], hook) if own else None

    def _experts(self, child: str, module: nn.Module, output: SublayerOutput, why: dict[str, str]) -> Mixture | None:
        path = f"blocks.{self.layer}.{child}"
        found = recognise_experts(path, module, self.recording, output.put_out, output.label, output.route)
        if found is None or isinstance(found, str):
            why |= {} if found is None else {PieceKind.EXPERTS: found}
            return None
        experts, step, total = found
        why[PieceKind.NEURONS] = "it is a mixture of experts; ExpertDecomposer splits it"
        return Mixture(output.label, experts, self._lost(step, total, output))

    def _lost_if(
        self,
        x: Site,
        steps: Sequence[Step],
        weight: torch.dtype,
        output: SublayerOutput,
        why: dict[str, str],
        what: tuple[PieceKind, str],
    ) -> tuple[Write, ...] | None:
        """What the first step whose result is the sublayer's output rounds away.

        If there is none, None, with the reason in `why` where the pieces would be the output's own.
        """
        activations, dtypes = self.recording.at([x]), (*self.recording.dtypes([x]), weight)
        for step in steps:
            product = explained(step, activations, output.put_out, *dtypes)
            if product is not None:
                return self._lost(step, product, output)
        kind, formula = what
        module = x.name.rpartition(".")[0]
        if output.label.kind == f"{module.rpartition('.')[2]}_out":
            why[kind] = f"{formula} of {module} {miss_of_step(steps[0], activations, output.put_out, *dtypes)}"
        return None

    def _lost(self, step: Step, computation: Computation, output: SublayerOutput) -> tuple[Write, ...]:
        """What a step whose result is the sublayer's output rounds away, and the norm that follows it.

        Args:
            step: The step.
            computation: The step in the precision in which its result is the sublayer's output.
            output: The sublayer's output.
        """
        labels = [Label(ROUNDING, self.layer, text=f"{output.label}_rounding", parent=output.label)]
        norm, seen, route = output.route.norm, self.site(output.name), DIRECT.after(output.route.multiplier)
        if norm is None:
            return rounding_of(computation, seen, labels, self.recording, route)
        return rounding_of_step(
            lambda precision: NormOutput(step(precision), norm, precision), seen, labels, self.recording, route
        )


def _first(found: Iterator[_Pieces | None]) -> _Pieces | None:
    """The first of several searches that finds something; those after it do not run."""
    return next((each for each in found if each is not None), None)
