"""A block's sublayers, recognised: what each adds, through which norm, by which heads or neurons."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dla.adapters.anatomy import Heads, Mixture, Neurons, Sublayer, whole
from dla.adapters.experts import recognise_experts
from dla.adapters.parts import Parts
from dla.adapters.probe import Probe
from dla.adapters.recognise import (
    Mix,
    Step,
    cast_from,
    constant_factor,
    explained,
    like_stream,
    miss,
    recognise_norm,
    tensor_of,
)
from dla.adapters.rounded import rounded
from dla.adapters.values import recognise_values
from dla.labels import ROUNDING, Label
from dla.routes import DIRECT, Norm, Route
from dla.sites import Site, as_it_is
from dla.writes import Addition, Normed, Product, Products, Write


@final
@dataclass(frozen=True)
class Output:
    """What a sublayer puts out.

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
class BlockView:
    """One block under the eye: finds out what its sublayers are made of."""

    parts: Parts
    probe: Probe
    layer: int
    stream: Tensor

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
        output = Output(name, added, put_out, label, Route(norm, factor))
        why: dict[str, str] = {}
        children = self._inner(output)
        heads = (self._heads(child, module, output, why) for child, module in children)
        neurons = (self._neurons(child, module, output, why) for child, module in children)
        experts = (self._experts(child, module, output, why) for child, module in children)
        return Sublayer(
            whole(self.site(name), label, factor),
            next((found for found in heads if found is not None), None),
            next((found for found in neurons if found is not None), None),
            next((found for found in experts if found is not None), None),
            tuple(self._outputs(output)),
            rounding,
            why,  # filled by the searches above, each of which stops where it finds something
        )

    def resid_mid(self, mix: Mix) -> Site | None:
        """The stream between two sublayers, where a hook shows just that."""
        name, names = f"blocks.{self.layer}.hook_resid_mid", list(mix.factors)
        mid = like_stream(self.probe.once(name), self.stream)
        if len(names) != 2 or mix.carry != 1.0 or mid is None:
            return None
        terms = [(Site(f"blocks.{self.layer}.hook_resid_pre"), 1.0), (self.site(names[0]), mix.factors[names[0]])]
        reads = [site for site, _ in terms]
        same = explained(partial(Addition, terms), self.probe.at(reads), mid, *self.probe.dtypes(reads))
        return None if same is None else self.site(name)

    def site(self, name: str, read: Callable[[Tensor], Tensor] = as_it_is) -> Site:
        """The place of a hook."""
        return Site(name, read=read, flattened=self.probe.hooks[name].shape[:2] != self.stream.shape[:2])

    def _seen(self, name: str) -> Tensor | None:
        return like_stream(self.probe.once(name), self.stream)

    def _post_norm(self, added: Tensor) -> tuple[Norm | None, Tensor]:
        """The norm that the sublayer's output passes before it is added, and that output."""
        for child, module in self.parts.children[self.layer].items():
            path = f"blocks.{self.layer}.{child}"
            output = like_stream(self.probe.outputs.get(path), self.stream)
            if output is not None and cast_from(output, added):
                norm = recognise_norm(path, module, self.probe, self.parts.centred)
                if norm is not None:
                    return norm, self.probe.inputs[path]
        return None, added

    def _inner(self, output: Output) -> list[tuple[str, nn.Module]]:
        """The modules that may have made the output. Anything makes nothing, so that is only its own module's."""
        children = list(self.parts.children[self.layer].items())
        if bool(output.put_out.any()):
            return children
        return [(name, module) for name, module in children if output.label.kind == f"{name}_out"]

    def _outputs(self, output: Output) -> Iterator[tuple[Site, Route]]:
        """Every hook that shows what is added, or what the post-norm makes that of."""
        names = [f"blocks.{self.layer}.hook_{kind}" for kind in ("attn_out", "mlp_out")]
        for name in (*names, *(f"blocks.{self.layer}.{child}.hook_out" for child in self.parts.children[self.layer])):
            seen = self._seen(name)
            if seen is None or seen.shape != output.added.shape:
                continue
            factor = constant_factor(seen, output.added)
            if factor is not None:
                yield self.site(name), Route(None, output.route.multiplier * factor)
            elif cast_from(seen, output.put_out):
                yield self.site(name), output.route

    def _kind(self, name: str, output: Tensor) -> str:
        """`attn_out`, `mlp_out`, or the name of the child that put it out."""
        hook = name.split(".", 2)[2]
        if hook.startswith("hook_"):
            return hook.removeprefix("hook_")
        for child in self.parts.children[self.layer]:
            value = like_stream(self.probe.outputs.get(f"blocks.{self.layer}.{child}"), self.stream)
            if value is not None and cast_from(value, output):
                return f"{child}_out"
        return f"{hook.split('.')[0]}_out"

    def _heads(self, child: str, module: nn.Module, output: Output, why: dict[str, str]) -> Heads | None:
        """The child's heads, if their writes and the bias are the sublayer's output."""
        path = f"blocks.{self.layer}.{child}"
        W_O, b_O, z = tensor_of(module, "W_O"), tensor_of(module, "b_O"), self._seen(f"{path}.hook_z")
        if W_O is None or W_O.ndim != 3 or z is None or z.flatten(2).shape[-1] != W_O.shape[0] * W_O.shape[1]:
            return None
        site = self.site(f"{path}.hook_z", _Unflatten(W_O.shape[0], W_O.shape[1]))
        steps: list[Step] = [partial(Product, site, W_O.flatten(0, 1), b_O), partial(Products, site, W_O, b_O)]
        rounding = self._whole_as(site, steps, W_O.dtype, output, why, ("attention heads", "z @ W_O + b_O"))
        if rounding is None:
            return None
        values = recognise_values(path, module, self.probe, site, output.label, W_O, output.route)
        if isinstance(values, str):
            why["sources of attention heads"] = values
        known = None if isinstance(values, str) else values
        return Heads(output.label, site, W_O, b_O, output.route, known, rounding)

    def _neurons(self, child: str, module: nn.Module, output: Output, why: dict[str, str]) -> Neurons | None:
        """The child's neurons, if their writes and the bias are the sublayer's output."""
        name = f"blocks.{self.layer}.{child}.hook_post"
        W_out, b_out, post = tensor_of(module, "W_out"), tensor_of(module, "b_out"), self._seen(name)
        if W_out is None or W_out.ndim != 2 or post is None:
            return None
        if post.ndim != 3 or post.shape[-1] != W_out.shape[0] or W_out.shape[1] != output.put_out.shape[-1]:
            return None
        site = self.site(name)
        rounding = self._whole_as(
            site, [partial(Product, site, W_out, b_out)], W_out.dtype, output, why, ("neurons", "post @ W_out + b_out")
        )
        return None if rounding is None else Neurons(output.label, site, W_out, b_out, output.route, rounding)

    def _experts(self, child: str, module: nn.Module, output: Output, why: dict[str, str]) -> Mixture | None:
        path = f"blocks.{self.layer}.{child}"
        found = recognise_experts(path, module, self.probe, output.put_out, output.label, output.route)
        if found is None or isinstance(found, str):
            why |= {} if found is None else {"experts": found}
            return None
        experts, step = found
        why["neurons"] = "it is a mixture of experts; ExpertDecomposer splits it"
        return Mixture(output.label, experts, self._lost(step, output))

    def _whole_as(
        self,
        x: Site,
        steps: Sequence[Step],
        weight: torch.dtype,
        output: Output,
        why: dict[str, str],
        what: tuple[str, str],
    ) -> tuple[Write, ...] | None:
        """What a step rounds away, if one of several is the sublayer's output; else None, and says why not."""
        activations, dtypes = self.probe.at([x]), (*self.probe.dtypes([x]), weight)
        for step in steps:
            if explained(step, activations, output.put_out, *dtypes) is not None:
                return self._lost(step, output)
        kind, formula = what
        module = x.name.rpartition(".")[0]
        if output.label.kind == f"{module.rpartition('.')[2]}_out":
            why[kind] = f"{formula} of {module} {miss(steps[0], activations, output.put_out, *dtypes)}"
        return None

    def _lost(self, step: Step, output: Output) -> tuple[Write, ...]:
        """What a step that comes to the sublayer's output rounds away, through the norm that follows it."""
        norm, label = (
            output.route.norm,
            Label(ROUNDING, self.layer, text=f"{output.label}_rounding", parent=output.label),
        )
        through: Step = step if norm is None else lambda precision: Normed(step(precision), norm, precision)
        route = DIRECT.after(output.route.multiplier)
        return rounded(through, self.site(output.name), label, self.probe, route)


@final
@dataclass(frozen=True)
class _Unflatten:
    """Heads on an axis of their own, however the hook shows them."""

    n_heads: int
    d_head: int

    def __call__(self, z: Tensor) -> Tensor:
        return z.reshape(*z.shape[:2], self.n_heads, self.d_head)
