"""The residual stream, recognised: one stream from the embeddings to the final norm, and what each block adds to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import final

from jaxtyping import Float
from torch import Tensor

from dla.adapters.anatomy import Block, PieceKind, Sublayer, full_output
from dla.adapters.recognise.block_sums import BlockSum
from dla.adapters.recognise.match import constant_factor, equal, explained
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.recording import Recording
from dla.adapters.recognise.step_rounding import rounding_of_step
from dla.adapters.recognise.sublayers import BlockRecording
from dla.errors import UnsupportedModelError
from dla.labels import ROUNDING, Label
from dla.writes import Addition, Change, Write
from dla.writes.routes import DIRECT
from dla.writes.sites import Site


@final
@dataclass(frozen=True)
class Stream:
    """The stream through the blocks.

    Attributes:
        ends: The hook name of the stream that leaves each block.
        before: The stream that enters each block.
        after: The stream that leaves it.
        onward: The constant by which it is multiplied before the next block, or the final norm.
    """

    ends: list[str]
    before: list[Float[Tensor, "..."]]
    after: list[Float[Tensor, "..."]]
    onward: list[float]


def recognise_stream(model: ModelModules, recording: Recording) -> Stream:
    """The one stream through all blocks.

    Raises:
        UnsupportedModelError: If the stream cannot be read, or is changed between two blocks.
    """
    if not model.blocks:
        raise UnsupportedModelError(
            "The model has no blocks: nothing writes to its stream but the embeddings, whose part is their product "
            "with the unembedding. Pass a model with at least one block."
        )
    starts, ends = ([f"blocks.{i}.hook_resid_{end}" for i in range(len(model.blocks))] for end in ("pre", "post"))
    before, after = ([_stream_at(recording, name) for name in names] for names in (starts, ends))
    following = [*before[1:], recording.inputs["ln_final" if model.ln_final is not None else "unembed"]]
    onward = [constant_factor(left, right) for left, right in zip(after, following, strict=True)]
    if None in onward:
        i = onward.index(None)
        where = f"block {i + 1}" if i + 1 < len(before) else "the final norm"
        raise UnsupportedModelError(
            f"What leaves block {i} is not what enters {where}: something between them changes the residual stream by "
            "more than a constant factor, or there are several streams. Such a model has no single stream to "
            "attribute; attribute one whose blocks add to one stream."
        )
    return Stream(ends, before, after, [factor for factor in onward if factor is not None])


def recognise_blocks(
    model: ModelModules, recording: Recording, stream: Stream, block_sums: Sequence[BlockSum | None]
) -> tuple[tuple[Write, ...], tuple[Block, ...]]:
    """The embeddings and the blocks, each write in the units of the stream that enters the final norm.

    Args:
        model: The model's modules.
        recording: What was seen.
        stream: The stream.
        block_sums: How each block's output is made.
    """
    multiplier, blocks = 1.0, []
    # Backwards: what a block writes is multiplied by the constants of all later blocks.
    for i in reversed(range(len(block_sums))):
        block_sum = block_sums[i]
        leaving = multiplier * stream.onward[i]
        multiplier = leaving * (1.0 if block_sum is None else block_sum.carry)
        view = BlockRecording(model, recording, i, stream.before[i])
        blocks.append(_block(view, i, block_sum, multiplier, leaving))
    blocks.reverse()
    for i, factor in enumerate(stream.onward[:-1]):
        blocks[i] = _with_rounding_after(blocks[i], blocks[i + 1], factor, recording)
    return _embeddings(recording, multiplier), tuple(blocks)


def _block(view: BlockRecording, i: int, block_sum: BlockSum | None, entering: float, leaving: float) -> Block:
    """One block. `entering` and `leaving` are what the streams at its ends are multiplied by later."""
    pre, post = Site(f"blocks.{i}.hook_resid_pre"), Site(f"blocks.{i}.hook_resid_post")
    resid_pre, resid_post = full_output(pre, Label("pre", i), entering), full_output(post, Label("post", i), leaving)
    if block_sum is None:
        # Measured at both ends, not computed as what other parts leave: such a block is one part of its own.
        gained = Change(pre, post, Label("block", i), DIRECT.after(leaving))
        return Block((Sublayer(gained, reasons=dict.fromkeys(PieceKind, _NO_SUM)),), resid_pre, None, resid_post)
    mid = view.resid_mid(block_sum)
    lost = _lost_in_block(view, block_sum, mid, pre, post, leaving)
    sublayers = tuple(
        view.sublayer(name, factor * leaving, rounding)
        for (name, factor), rounding in zip(block_sum.factors.items(), lost, strict=True)
    )
    return Block(sublayers, resid_pre, None if mid is None else full_output(mid, Label("mid", i), leaving), resid_post)


def _lost_in_block(
    view: BlockRecording, block_sum: BlockSum, mid: Site | None, pre: Site, post: Site, leaving: float
) -> list[tuple[Write, ...]]:
    """What adding each sublayer to the stream rounds away.

    Without a hook between two sublayers only their common loss is known, and belongs to the last one.
    """
    added = [(view.site(name), factor) for name, factor in block_sum.factors.items()]
    sums = [((pre, block_sum.carry), *added)] if mid is None else [((pre, 1.0), added[0]), ((mid, 1.0), added[1])]
    ends = [post] if mid is None else [mid, post]
    route = DIRECT.after(leaving)
    lost: list[tuple[Write, ...]] = [()] * (len(added) - len(sums))
    for i, (terms, end) in enumerate(zip(sums, ends, strict=True), start=len(lost)):
        label = Label(ROUNDING, view.layer, i)
        lost.append(rounding_of_step(partial(Addition, terms), end, [label], view.recording, route))
    return lost


def _with_rounding_after(block: Block, following: Block, factor: float, recording: Recording) -> Block:
    """A block whose last sublayer also has what is rounded away between this block and the next."""
    end, start = block.resid_post.site, following.resid_pre.site
    if factor == 1.0 and equal(recording.hooks[end.name], recording.hooks[start.name]):
        return block
    *others, last = block.sublayers
    layer = block.resid_post.label.layer
    label = Label(ROUNDING, layer, len(block.sublayers))
    lost = rounding_of_step(partial(Addition, [(end, factor)]), start, [label], recording, following.resid_pre.route)
    return replace(block, sublayers=(*others, replace(last, rounding=(*last.rounding, *lost))))


def _embeddings(recording: Recording, multiplier: float) -> tuple[Write, ...]:
    """The token and position embeddings where they add up to the first stream, else that stream as one part."""
    start = "blocks.0.hook_resid_pre"
    stream = recording.hooks[start]
    names = {"hook_embed": "embed", "hook_pos_embed": "pos_embed"}
    found = {
        name: seen for name in names if (seen := recording.activation(name)) is not None and seen.shape == stream.shape
    }
    # Shortformer shows position embeddings too, but adds them inside attention only.
    for chosen in (list(found), ["hook_embed"]):
        if chosen and all(name in found for name in chosen):
            terms = [(Site(name), 1.0) for name in chosen]
            if explained(partial(Addition, terms), recording.at([s for s, _ in terms]), stream) is not None:
                label = Label(ROUNDING, text="embed_rounding")
                lost = rounding_of_step(
                    partial(Addition, terms), Site(start), [label], recording, DIRECT.after(multiplier)
                )
                return (*(full_output(Site(n), Label(names[n]), multiplier) for n in chosen), *lost)
    return (full_output(Site(start), Label("embed"), multiplier),)


_NO_SUM = "what the sublayers put out does not add up to what the block adds to the stream"


def _stream_at(recording: Recording, name: str) -> Float[Tensor, "..."]:
    if name not in recording.hooks or name in recording.repeated:
        times = "fires more than once" if name in recording.repeated else "never fires"
        raise UnsupportedModelError(
            f"The residual stream cannot be read: the hook {name} {times} in a forward pass. Attribute a model "
            "whose blocks are a plain stack, each of which runs once and hands on one tensor."
        )
    return recording.hooks[name]
