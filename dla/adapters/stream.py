"""The residual stream, recognised: one stream from the embeddings to the final norm, and what each block adds to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dla.adapters.anatomy import Block, Sublayer, whole
from dla.adapters.parts import Parts
from dla.adapters.probe import Probe
from dla.adapters.recognise import Judge, Mix, constant_factor, distinct, recognise_mix
from dla.adapters.sublayers import BlockView
from dla.errors import UnsupportedModelError
from dla.labels import Label
from dla.routes import Route
from dla.sites import Site
from dla.writes import Change, Write


@final
@dataclass(frozen=True)
class Stream:
    """The stream through the blocks.

    Attributes:
        before: The stream that enters each block.
        after: The stream that leaves it.
        onward: The constant by which it is multiplied before the next block, or the final norm.
    """

    before: list[Tensor]
    after: list[Tensor]
    onward: list[float]


def recognise_stream(parts: Parts, probe: Probe, judge: Judge) -> Stream:
    """Makes sure that there is one stream.

    Raises:
        UnsupportedModelError: If the stream cannot be read, or is changed between two blocks.
    """
    ends = [[_once(probe, f"blocks.{i}.hook_resid_{end}") for i in range(len(parts.blocks))] for end in ("pre", "post")]
    before, after = ends
    following = [*before[1:], probe.inputs["ln_final" if parts.ln_final is not None else "unembed"]]
    onward = [constant_factor(left, right, judge) for left, right in zip(after, following, strict=True)]
    if None in onward:
        i = onward.index(None)
        where = f"block {i + 1}" if i + 1 < len(before) else "the final norm"
        raise UnsupportedModelError(
            f"What leaves block {i} is not what enters {where}: something between them changes the residual stream by "
            "more than a constant factor, or there are several streams. Such a model has no single stream to "
            "attribute; attribute one whose blocks add to one stream."
        )
    return Stream(before, after, [factor for factor in onward if factor is not None])


def recognise_blocks(
    parts: Parts, probe: Probe, stream: Stream, judge: Judge
) -> tuple[tuple[Write, ...], tuple[Block, ...]]:
    """The embeddings and the blocks, each write in the units of the stream that enters the final norm."""
    mixes = _mixes(parts, probe, stream, judge)
    multiplier, blocks = 1.0, []
    for i in reversed(range(len(mixes))):
        mix = mixes[i]
        leaving = multiplier * stream.onward[i]
        multiplier = leaving * (1.0 if mix is None else mix.carry)
        view = BlockView(parts, probe, judge, i, stream.before[i])
        blocks.append(_block(view, i, mix, multiplier, leaving))
    return _embeddings(probe, judge, multiplier), tuple(reversed(blocks))


def _block(view: BlockView, i: int, mix: Mix | None, entering: float, leaving: float) -> Block:
    """One block. `entering` and `leaving` are what the streams at its ends are multiplied by later."""
    pre, post = Site(f"blocks.{i}.hook_resid_pre"), Site(f"blocks.{i}.hook_resid_post")
    resid_pre, resid_post = whole(pre, Label("pre", i), entering), whole(post, Label("post", i), leaving)
    if mix is None:
        gained = Change(pre, post, Label("block", i), Route().after(leaving))
        return Block((Sublayer(gained),), resid_pre, None, resid_post)
    sublayers = tuple(view.sublayer(name, factor * leaving) for name, factor in mix.factors.items())
    mid = view.resid_mid(mix)
    return Block(sublayers, resid_pre, None if mid is None else whole(mid, Label("mid", i), leaving), resid_post)


def _mixes(parts: Parts, probe: Probe, stream: Stream, judge: Judge) -> list[Mix | None]:
    """How each block's output is made. What held for the block before is tried first."""
    mixes: list[Mix | None] = []
    for i, (before, after) in enumerate(zip(stream.before, stream.after, strict=True)):
        candidates = _candidates(parts, probe, i, before, judge)
        likely: list[Sequence[str]] = [(f"blocks.{i}.hook_attn_out", f"blocks.{i}.hook_mlp_out")]
        likely += [tuple(_moved(n, i) for n in mix.factors) for mix in mixes[-1:] if mix is not None]
        mixes.append(recognise_mix(before, after, candidates, likely, judge))
    return mixes


def _candidates(parts: Parts, probe: Probe, i: int, like: Tensor, judge: Judge) -> dict[str, Tensor]:
    """What a block might add to the stream, by hook name; each value once, TransformerLens' own names first."""
    names = [f"blocks.{i}.hook_attn_out", f"blocks.{i}.hook_mlp_out"]
    names += [f"blocks.{i}.{child}.hook_out" for child in parts.children[i]]
    found = ((name, probe.hooks.get(name)) for name in names if name not in probe.repeated)
    return {n: v for n, v in distinct(found, like, judge).items() if not judge.same(v, like)}


def _moved(name: str, layer: int) -> str:
    return ".".join(["blocks", str(layer), *name.split(".")[2:]])


def _embeddings(probe: Probe, judge: Judge, multiplier: float) -> tuple[Write, ...]:
    """The token and position embeddings where they add up to the first stream, else that stream as one part."""
    stream = probe.hooks["blocks.0.hook_resid_pre"]
    names = {"hook_embed": "embed", "hook_pos_embed": "pos_embed"}
    found = {n: probe.hooks[n] for n in names if n in probe.hooks and n not in probe.repeated}
    for chosen in (list(found), ["hook_embed"]):
        fits = bool(chosen) and all(n in found and found[n].shape == stream.shape for n in chosen)
        if fits and judge.same(torch.stack([found[n] for n in chosen]).sum(0), stream):
            return tuple(whole(Site(n), Label(names[n]), multiplier) for n in chosen)
    return (whole(Site("blocks.0.hook_resid_pre"), Label("embed"), multiplier),)


def _once(probe: Probe, name: str) -> Tensor:
    if name not in probe.hooks or name in probe.repeated:
        times = "fires more than once" if name in probe.repeated else "never fires"
        raise UnsupportedModelError(
            f"The residual stream cannot be read: the hook {name} {times} in a forward pass. Attribute a model "
            "whose blocks are a plain stack, each of which runs once and hands on one tensor."
        )
    return probe.hooks[name]
