"""A block's sublayers, recognised: what each adds, through which norm, by which heads or neurons."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from dla.adapters.anatomy import Heads, Neurons, Sublayer, whole
from dla.adapters.experts import recognise_experts
from dla.adapters.parts import Parts
from dla.adapters.probe import Probe
from dla.adapters.recognise import Judge, Mix, constant_factor, like_stream, recognise_norm, sum_of_parts, tensor_of
from dla.adapters.values import recognise_values
from dla.labels import Label
from dla.routes import Norm, Route
from dla.sites import Site, as_it_is


@final
@dataclass(frozen=True)
class BlockView:
    """One block under the eye: finds out what its sublayers are made of."""

    parts: Parts
    probe: Probe
    judge: Judge
    layer: int
    stream: Tensor

    def sublayer(self, name: str, factor: float) -> Sublayer:
        """The sublayer whose output, after any post-norm, is seen at the hook `name`."""
        added = self._seen(name)
        assert added is not None
        norm, output = self._post_norm(added)
        route = Route(norm, factor)
        label = Label(self._kind(name, output), self.layer, parent=Label("block", self.layer))
        children = self.parts.children[self.layer].items()
        heads = (self._heads(child, module, output, label, route) for child, module in children)
        neurons = (self._neurons(child, module, output, label, route) for child, module in children)
        experts = (
            recognise_experts(f"blocks.{self.layer}.{child}", module, self.probe, self.judge, output, label, route)
            for child, module in children
        )
        return Sublayer(
            whole(self._site(name), label, factor),
            next((found for found in heads if found is not None), None),
            next((found for found in neurons if found is not None), None),
            next((found for found in experts if found is not None), None),
            tuple(self._outputs(added, output, route)),
        )

    def resid_mid(self, mix: Mix) -> Site | None:
        """The stream between two sublayers, where a hook shows just that."""
        name, names = f"blocks.{self.layer}.hook_resid_mid", list(mix.factors)
        mid, first = self._seen(name), self._seen(names[0])
        if len(names) != 2 or mix.carry != 1.0 or mid is None or first is None or name in self.probe.repeated:
            return None
        expected = self.stream + mix.factors[names[0]] * first
        return self._site(name) if self.judge.same(mid, expected) else None

    def _seen(self, name: str) -> Tensor | None:
        return like_stream(self.probe.hooks.get(name), self.stream)

    def _site(self, name: str, read: Callable[[Tensor], Tensor] = as_it_is) -> Site:
        return Site(name, read=read, flattened=self.probe.hooks[name].shape[:2] != self.stream.shape[:2])

    def _post_norm(self, added: Tensor) -> tuple[Norm | None, Tensor]:
        """The norm that the sublayer's output passes before it is added, and that output."""
        for child, module in self.parts.children[self.layer].items():
            path = f"blocks.{self.layer}.{child}"
            output = like_stream(self.probe.outputs.get(path), self.stream)
            if output is not None and self.judge.same(output, added):
                norm = recognise_norm(path, module, self.probe, self.judge, self.parts.centred)
                if norm is not None:
                    return norm, self.probe.inputs[path]
        return None, added

    def _outputs(self, added: Tensor, output: Tensor, route: Route) -> Iterator[tuple[Site, Route]]:
        """Every hook that shows what is added, or what the post-norm makes that of."""
        names = [f"blocks.{self.layer}.hook_{kind}" for kind in ("attn_out", "mlp_out")]
        for name in (*names, *(f"blocks.{self.layer}.{child}.hook_out" for child in self.parts.children[self.layer])):
            seen = None if name in self.probe.repeated else self._seen(name)
            if seen is None or seen.shape != added.shape:
                continue
            factor = constant_factor(seen, added, self.judge)
            if factor is not None:
                yield self._site(name), Route(None, route.multiplier * factor)
            elif self.judge.same(seen, output):
                yield self._site(name), route

    def _kind(self, name: str, output: Tensor) -> str:
        """`attn_out`, `mlp_out`, or the name of the child that put it out."""
        hook = name.split(".", 2)[2]
        if hook.startswith("hook_"):
            return hook.removeprefix("hook_")
        for child in self.parts.children[self.layer]:
            value = like_stream(self.probe.outputs.get(f"blocks.{self.layer}.{child}"), self.stream)
            if value is not None and self.judge.same(value, output):
                return f"{child}_out"
        return f"{hook.split('.')[0]}_out"

    def _heads(self, child: str, module: nn.Module, output: Tensor, label: Label, route: Route) -> Heads | None:
        """The child's heads, if their writes and the bias are the sublayer's output."""
        name, W_O, b_O = f"blocks.{self.layer}.{child}.hook_z", tensor_of(module, "W_O"), tensor_of(module, "b_O")
        z = self._seen(name)
        if W_O is None or W_O.ndim != 3 or z is None or name in self.probe.repeated:
            return None
        read = _Unflatten(W_O.shape[0], W_O.shape[1])
        if z.flatten(2).shape[-1] != W_O.shape[0] * W_O.shape[1]:
            return None
        if not self.judge.same(sum_of_parts(read(z), W_O, b_O), output):
            return None
        values = recognise_values(f"blocks.{self.layer}.{child}", module, self.probe, self.judge, read(z))
        return Heads(label, self._site(name, read), W_O, b_O, route, values)

    def _neurons(self, child: str, module: nn.Module, output: Tensor, label: Label, route: Route) -> Neurons | None:
        """The child's neurons, if their writes and the bias are the sublayer's output."""
        name = f"blocks.{self.layer}.{child}.hook_post"
        W_out, b_out, post = tensor_of(module, "W_out"), tensor_of(module, "b_out"), self._seen(name)
        if W_out is None or W_out.ndim != 2 or post is None or name in self.probe.repeated:
            return None
        if post.ndim != 3 or post.shape[-1] != W_out.shape[0] or W_out.shape[1] != output.shape[-1]:
            return None
        if not self.judge.same(sum_of_parts(post.unsqueeze(2), W_out.unsqueeze(0), b_out), output):
            return None
        return Neurons(label, self._site(name), W_out, b_out, route)


@final
@dataclass(frozen=True)
class _Unflatten:
    """Heads on an axis of their own, however the hook shows them."""

    n_heads: int
    d_head: int

    def __call__(self, z: Tensor) -> Tensor:
        return z.reshape(*z.shape[:2], self.n_heads, self.d_head)
