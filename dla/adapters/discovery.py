"""From a probe to an anatomy: embeddings, blocks, sublayers, heads, neurons, readout."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from dla.adapters.anatomy import Anatomy, Block, Heads, Neurons, Sublayer, Unembedding, whole
from dla.adapters.probe import SHARED, Probe
from dla.adapters.recognise import (
    Judge,
    Mix,
    distinct,
    like_stream,
    recognise_mix,
    recognise_norm,
    sum_of_parts,
    tensor_of,
)
from dla.errors import UnsupportedModelError
from dla.labels import Label
from dla.routes import Norm, Route
from dla.sites import Site, as_it_is
from dla.writes import Change, Write


@final
@dataclass(frozen=True)
class Parts:
    """The modules and facts that a model class hands to discovery.

    Attributes:
        name: The model's name.
        blocks: The blocks.
        ln_final: The final norm; None if the model has none.
        unembed: The unembedding.
        W_U: `[d_model d_vocab]`.
        b_U: `[d_vocab]`, or None.
        centred: Whether the configuration speaks of LayerNorm rather than RMSNorm; settles ties only.
        dtype: The model's dtype.
        transforms: What may turn the unembedding's output into the logits that the model returns.
    """

    name: str
    blocks: Sequence[nn.Module]
    ln_final: nn.Module | None
    unembed: nn.Module
    W_U: Tensor
    b_U: Tensor | None
    centred: bool
    dtype: torch.dtype
    transforms: Sequence[Callable[[Tensor], Tensor]] = ()
    children: list[dict[str, nn.Module]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for block in self.blocks:
            named = block.named_children()
            self.children.append({n: m for n, m in named if n != "_original_component" and not n.startswith("hook_")})

    def watched(self) -> Mapping[str, nn.Module]:
        """Every module whose input and output discovery wants to see, by path."""
        modules = {f"blocks.{i}.{n}": m for i, children in enumerate(self.children) for n, m in children.items()}
        modules["unembed"] = self.unembed
        if self.ln_final is not None:
            modules["ln_final"] = self.ln_final
        return modules


def discover(parts: Parts, probe: Probe) -> Anatomy:
    """What the model is made of.

    Raises:
        UnsupportedModelError: If the stream, or its readout, is not of a form that can be attributed exactly.
    """
    judge = Judge(_SLACK[parts.dtype])
    _check_causal(probe, judge)
    unembedding = _unembedding(parts, probe, judge)
    streams = _streams(parts, probe, judge)
    mixes = _mixes(parts, probe, streams, judge)
    later = [1.0] * (len(streams) + 1)
    for i in reversed(range(len(streams))):
        carry = mixes[i]
        later[i] = later[i + 1] * (1.0 if carry is None else carry.carry)
    blocks = tuple(_block(parts, probe, judge, i, mixes[i], later) for i in range(len(streams)))
    embeddings = _embeddings(probe, judge, later[0])
    return Anatomy(parts.name, embeddings, blocks, unembedding, _rounding(parts, probe, unembedding))


_SLACK = {torch.float64: 1e-5, torch.float32: 3e-5, torch.bfloat16: 0.04, torch.float16: 5e-3}


def _check_causal(probe: Probe, judge: Judge) -> None:
    first, second = probe.logits[:, :SHARED]
    if not judge.same(first, second):
        raise UnsupportedModelError(
            "A token changes the logits at positions before it, so this model is not a causal decoder. "
            "Direct logit attribution is defined here for decoders: pass a causal language model."
        )


def _streams(parts: Parts, probe: Probe, judge: Judge) -> list[tuple[Tensor, Tensor]]:
    """The stream before and after each block, once it is clear that they are one stream."""
    streams = []
    for i in range(len(parts.blocks)):
        names = (f"blocks.{i}.hook_resid_pre", f"blocks.{i}.hook_resid_post")
        missing = [name for name in names if name not in probe.hooks or name in probe.repeated]
        if missing:
            raise UnsupportedModelError(
                f"The residual stream cannot be read at {missing[0]}: the hook does not fire exactly once. "
                "Check that the model's blocks are a plain stack that runs once."
            )
        streams.append((probe.hooks[names[0]], probe.hooks[names[1]]))
    exits = [pre for pre, _ in streams[1:]]
    exits.append(probe.inputs["ln_final" if parts.ln_final is not None else "unembed"])
    for i, ((_, post), following) in enumerate(zip(streams, exits, strict=True)):
        if not judge.same(post, following):
            where = f"block {i + 1}" if i + 1 < len(streams) else "the final norm"
            raise UnsupportedModelError(
                f"What leaves block {i} is not what enters {where}: something between them changes the residual "
                "stream, or there are several streams. Such a model has no single stream to attribute."
            )
    return streams


def _mixes(parts: Parts, probe: Probe, streams: list[tuple[Tensor, Tensor]], judge: Judge) -> list[Mix | None]:
    """How each block's output is made. What held for the block before is tried first."""
    mixes: list[Mix | None] = []
    for i, (pre, post) in enumerate(streams):
        candidates = _candidates(parts, probe, i, pre, judge)
        likely: list[Sequence[str]] = [(f"blocks.{i}.hook_attn_out", f"blocks.{i}.hook_mlp_out")]
        likely += [tuple(_moved(n, i) for n in mix.factors) for mix in mixes[-1:] if mix is not None]
        mixes.append(recognise_mix(pre, post, candidates, likely, judge))
    return mixes


def _candidates(parts: Parts, probe: Probe, i: int, like: Tensor, judge: Judge) -> dict[str, Tensor]:
    """What a block might add to the stream, by hook name; each value once, TransformerLens' own names first."""
    names = [f"blocks.{i}.hook_attn_out", f"blocks.{i}.hook_mlp_out"]
    names += [f"blocks.{i}.{child}.hook_out" for child in parts.children[i]]
    found = ((name, probe.hooks.get(name)) for name in names if name not in probe.repeated)
    return {n: v for n, v in distinct(found, like, judge).items() if not judge.same(v, like)}


def _moved(name: str, layer: int) -> str:
    return ".".join(["blocks", str(layer), *name.split(".")[2:]])


def _block(parts: Parts, probe: Probe, judge: Judge, i: int, mix: Mix | None, later: list[float]) -> Block:
    pre, post = Site(f"blocks.{i}.hook_resid_pre"), Site(f"blocks.{i}.hook_resid_post")
    resid_pre = whole(pre, Label("pre", i), later[i])
    resid_post = whole(post, Label("post", i), later[i + 1])
    if mix is None:
        gained = Change(pre, post, Label("block", i), Route().after(later[i + 1]))
        return Block((Sublayer(gained),), resid_pre, None, resid_post)
    looking = _Looking(parts, probe, judge, i, probe.hooks[pre.name])
    sublayers = tuple(looking.sublayer(name, factor * later[i + 1]) for name, factor in mix.factors.items())
    mid = looking.resid_mid(mix)
    return Block(sublayers, resid_pre, mid and whole(mid, Label("mid", i), later[i + 1]), resid_post)


@final
@dataclass(frozen=True)
class _Looking:
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
        children = self.parts.children[self.layer].items()
        heads = (self._heads(child, module, output, route) for child, module in children)
        neurons = (self._neurons(child, module, output, route) for child, module in children)
        return Sublayer(
            whole(self._site(name), Label(self._kind(name, output), self.layer), factor),
            next((found for found in heads if found is not None), None),
            next((found for found in neurons if found is not None), None),
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

    def _heads(self, child: str, module: nn.Module, output: Tensor, route: Route) -> Heads | None:
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
        return Heads(self.layer, self._site(name, read), W_O, b_O, route)

    def _neurons(self, child: str, module: nn.Module, output: Tensor, route: Route) -> Neurons | None:
        """The child's neurons, if their writes and the bias are the sublayer's output."""
        name = f"blocks.{self.layer}.{child}.hook_post"
        W_out, b_out, post = tensor_of(module, "W_out"), tensor_of(module, "b_out"), self._seen(name)
        if W_out is None or W_out.ndim != 2 or post is None or name in self.probe.repeated:
            return None
        if post.ndim != 3 or post.shape[-1] != W_out.shape[0] or W_out.shape[1] != output.shape[-1]:
            return None
        if not self.judge.same(sum_of_parts(post.unsqueeze(2), W_out.unsqueeze(0), b_out), output):
            return None
        return Neurons(self.layer, self._site(name), W_out, b_out, route)


@final
@dataclass(frozen=True)
class _Unflatten:
    """Heads on an axis of their own, however the hook shows them."""

    n_heads: int
    d_head: int

    def __call__(self, z: Tensor) -> Tensor:
        return z.reshape(*z.shape[:2], self.n_heads, self.d_head)


def _embeddings(probe: Probe, judge: Judge, multiplier: float) -> tuple[Write, ...]:
    """The token and position embeddings where they add up to the first stream, else that stream as one part."""
    stream = probe.hooks["blocks.0.hook_resid_pre"]
    names = {"hook_embed": "embed", "hook_pos_embed": "pos_embed"}
    found = {n: probe.hooks[n] for n in names if n in probe.hooks and n not in probe.repeated}
    for chosen in (list(found), ["hook_embed"]):
        if all(n in found and found[n].shape == stream.shape for n in chosen) and chosen:
            if judge.same(torch.stack([found[n] for n in chosen]).sum(0), stream):
                return tuple(whole(Site(n), Label(names[n]), multiplier) for n in chosen)
    return (whole(Site("blocks.0.hook_resid_pre"), Label("embed"), multiplier),)


def _unembedding(parts: Parts, probe: Probe, judge: Judge) -> Unembedding:
    norm = None
    entered, logits = probe.inputs["unembed"], probe.outputs["unembed"]
    normed = entered
    if parts.ln_final is not None:
        norm = recognise_norm("ln_final", parts.ln_final, probe, judge, parts.centred)
        normed = probe.outputs["ln_final"]
        if norm is None:
            raise UnsupportedModelError(
                f"The final norm ({type(parts.ln_final).__name__}) is not a LayerNorm or RMSNorm given its scale, so "
                "the logits are not linear in the residual stream. This model cannot be attributed exactly."
            )
    multiplier = float((entered * normed).sum() / normed.pow(2).sum()) if entered.shape == normed.shape else 0.0
    multiplier = 1.0 if abs(multiplier - 1) < judge.slack else multiplier
    if not judge.same(entered, normed * multiplier if entered.shape == normed.shape else normed):
        raise UnsupportedModelError(
            "Between the final norm and the unembedding the stream is transformed by more than a constant factor. "
            "This model cannot be attributed exactly."
        )
    expected = entered @ parts.W_U.detach().cpu().double()
    expected = expected if parts.b_U is None else expected + parts.b_U.detach().cpu().double()
    if not judge.same(expected, logits):
        raise UnsupportedModelError(
            "The unembedding's output is not `x @ W_U + b_U`. This model's logits cannot be attributed exactly."
        )
    transform = next((t for t in parts.transforms if judge.same(t(logits), probe.logits)), None)
    return Unembedding(
        norm, parts.W_U, parts.b_U, Site("unembed.hook_in"), Site("unembed.hook_out"), transform, multiplier
    )


def _rounding(parts: Parts, probe: Probe, unembedding: Unembedding) -> float:
    """The model's rounding unit. Hugging Face's RMSNorm computes in float32 whatever the model's dtype."""
    eps = torch.finfo(parts.dtype).eps
    norm = unembedding.norm
    if parts.dtype != torch.float64 or norm is None:
        return eps
    x, y = probe.inputs["ln_final"], probe.outputs["ln_final"]
    scale = norm.scale.read(probe.hooks[norm.scale.name])
    exact = norm.push_forward(x, scale) + (0.0 if norm.bias is None else norm.bias.detach().cpu().double())
    return eps if Judge(1e-12).same(exact, y) else torch.finfo(torch.float32).eps
