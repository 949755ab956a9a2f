"""Adapters that are wrong about their model, or show other activations than the model has."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import dla
from dla.adapters import Anatomy, Heads, Observer, Sublayer
from dla.testing import AlteredAdapter
from mutants.altered import with_heads, with_norm, with_readout, with_scale, with_sublayers


def pads_on_the_left(model: Any) -> dla.ModelAdapter:
    """Hands padding to the model as if it were text: short prompts are moved to the right, and no mask says so."""
    pad = dla.adapt(model).vocabulary.pad

    def run(inner: dla.ModelAdapter, tokens: Tensor, observe: Mapping[str, Observer], rows: Tensor | None) -> Tensor:
        width = tokens.shape[1]
        lengths = [max((i + 1 for i, token in enumerate(row) if token != pad), default=1) for row in tokens.tolist()]
        moved = torch.stack([row.roll(width - length) for row, length in zip(tokens, lengths, strict=True)])

        def back(activation: Tensor) -> Tensor:
            if activation.shape[:2] != tokens.shape:
                return activation
            return torch.stack([x.roll(length - width, 0) for x, length in zip(activation, lengths, strict=True)])

        def shown(observer: Observer) -> Observer:
            return lambda activation: observer(back(activation))

        logits = back(inner.run(moved, {name: shown(observer) for name, observer in observe.items()}, None))
        return logits if rows is None else logits.gather(1, rows[..., None].expand(-1, -1, logits.shape[-1]))

    return AlteredAdapter(model, run=run)


def answers_from_memory(model: Any) -> dla.ModelAdapter:
    """Remembers runs by the size of the prompt, and shows the first one again for every other prompt of that size."""
    runs: dict[torch.Size, Tensor] = {}

    def run(inner: dla.ModelAdapter, tokens: Tensor, observe: Mapping[str, Observer], rows: Tensor | None) -> Tensor:
        return inner.run(runs.setdefault(tokens.shape, tokens.clone()), observe, rows)

    return AlteredAdapter(model, run=run)


def drops_gamma(model: Any) -> dla.ModelAdapter:
    """The final norm has no weight."""
    return AlteredAdapter(model, with_norm(lambda norm: replace(norm, weight=None)))


def drops_beta(model: Any) -> dla.ModelAdapter:
    """The final norm has no bias."""
    return AlteredAdapter(model, with_norm(lambda norm: replace(norm, bias=None)))


def drops_b_U(model: Any) -> dla.ModelAdapter:
    """The unembedding has no bias."""
    return AlteredAdapter(model, with_readout(b_U=None))


def takes_layer_norm_for_rms_norm(model: Any) -> dla.ModelAdapter:
    """The final norm does not centre."""
    return AlteredAdapter(model, with_norm(lambda norm: replace(norm, centred=False)))


def takes_rms_norm_for_layer_norm(model: Any) -> dla.ModelAdapter:
    """The final norm centres."""
    return AlteredAdapter(model, with_norm(lambda norm: replace(norm, centred=True)))


def forgets_one_plus_w(model: Any) -> dla.ModelAdapter:
    """The final norm's weight as the checkpoint has it, where the model adds one to it."""
    return AlteredAdapter(
        model, with_norm(lambda norm: replace(norm, weight=None if norm.weight is None else norm.weight - 1))
    )


def takes_the_unbiased_variance(model: Any) -> dla.ModelAdapter:
    """The scale of `torch.std`, which divides by n - 1."""

    def alter(anatomy: Anatomy) -> Anatomy:
        width = anatomy.unembedding.W_U.shape[0]
        return with_scale(lambda scale: scale * (width / (width - 1)) ** 0.5)(anatomy)

    return AlteredAdapter(model, alter)


def takes_the_scale_of_the_position_before(model: Any) -> dla.ModelAdapter:
    """The final norm's scale, one position late."""
    return AlteredAdapter(model, with_scale(lambda scale: scale.roll(1, 1)))


def takes_the_logits_after_the_soft_cap(model: Any) -> dla.ModelAdapter:
    """The logits that the model returns, taken for those before its soft cap."""
    anatomy = dla.adapt(model).anatomy
    assert anatomy.unembedding.transform is not None
    name, cap = anatomy.unembedding.logits.name, anatomy.unembedding.transform
    return AlteredAdapter(model, show=lambda seen, x: cap(x) if seen == name else x)


def forgets_the_residual_multiplier(model: Any) -> dla.ModelAdapter:
    """Sublayers are added as they are, where the model multiplies them first."""

    def alter(sublayer: Sublayer) -> Sublayer:
        write = sublayer.write
        assert isinstance(write, dla.FullOutput)
        return replace(sublayer, write=replace(write, route=replace(write.route, multiplier=1.0)))

    return AlteredAdapter(model, with_sublayers(alter))


def forgets_the_embedding_scale(model: Any) -> dla.ModelAdapter:
    """The embedding as the table has it, before the model multiplies it by √d."""

    def show(name: str, activation: Tensor) -> Tensor:
        return activation / activation.shape[-1] ** 0.5 if name == "hook_embed" else activation

    return AlteredAdapter(model, show=show)


def flattens_W_O_the_other_way(model: Any) -> dla.ModelAdapter:
    """`W_O` read as `[d_head, head]`, where the model has `[head, d_head]`."""

    def alter(heads: Heads) -> Heads:
        count, d_head, _ = heads.W_O.shape
        weight = heads.W_O.flatten(0, 1).unflatten(0, (d_head, count)).transpose(0, 1)
        return replace(heads, W_O=weight)

    return AlteredAdapter(model, with_heads(alter))


def reads_z_of_the_position_before(model: Any) -> dla.ModelAdapter:
    """What heads read, one position late."""
    return AlteredAdapter(model, show=lambda name, x: x.roll(1, 1) if name.endswith("hook_z") else x)


def shows_the_normed_stream_as_the_last(model: Any) -> dla.ModelAdapter:
    """The last hidden state, as Hugging Face returns it: with the final norm already applied."""

    def alter(anatomy: Anatomy) -> Anatomy:
        last = anatomy.blocks[-1]
        normed = replace(last.resid_post, site=anatomy.unembedding.normalised)
        return replace(anatomy, blocks=(*anatomy.blocks[:-1], replace(last, resid_post=normed)))

    return AlteredAdapter(model, alter)
