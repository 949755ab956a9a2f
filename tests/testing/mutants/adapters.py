"""Adapters that are wrong about their model, or show other activations than the model has."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor

import dla
from dla.adapters import Anatomy, Heads, Observer, Sublayer
from dla.inputs import Vocabulary

Alter = Callable[[Anatomy], Anatomy]
Show = Callable[[str, Tensor], Tensor]


@final
class Altered(dla.ModelAdapter):
    """An adapter as one's own might be: right but for what its anatomy says, or for what its observers are shown."""

    def __init__(self, model: Any, alter: Alter = lambda anatomy: anatomy, show: Show = lambda name, x: x) -> None:
        self._inner, self._show = dla.adapt(model), show
        self._anatomy = alter(self._inner.anatomy)

    @property
    def anatomy(self) -> Anatomy:
        return self._anatomy

    @property
    def vocabulary(self) -> Vocabulary:
        return self._inner.vocabulary

    def run(self, tokens: Tensor, observe: Mapping[str, Observer], rows: Tensor | None) -> Tensor:
        def shown(name: str, observer: Observer) -> Observer:
            return lambda activation: observer(self._show(name, activation))

        return self._inner.run(tokens, {name: shown(name, observer) for name, observer in observe.items()}, rows)

    def owns(self, cache: Any) -> bool:
        return self._inner.owns(cache)


@final
class PadsOnTheLeft(dla.ModelAdapter):
    """Hands padding to the model as if it were text: short prompts are moved to the right, and no mask says so."""

    def __init__(self, model: Any) -> None:
        self._inner = dla.adapt(model)

    @property
    def anatomy(self) -> Anatomy:
        return self._inner.anatomy

    @property
    def vocabulary(self) -> Vocabulary:
        return self._inner.vocabulary

    def run(self, tokens: Tensor, observe: Mapping[str, Observer], rows: Tensor | None) -> Tensor:
        pad, width = self.vocabulary.pad, tokens.shape[1]
        lengths = [max((i + 1 for i, token in enumerate(row) if token != pad), default=1) for row in tokens.tolist()]
        moved = torch.stack([row.roll(width - length) for row, length in zip(tokens, lengths, strict=True)])

        def back(activation: Tensor) -> Tensor:
            if activation.shape[:2] != tokens.shape:
                return activation
            return torch.stack([x.roll(length - width, 0) for x, length in zip(activation, lengths, strict=True)])

        def shown(observer: Observer) -> Observer:
            return lambda activation: observer(back(activation))

        logits = back(self._inner.run(moved, {name: shown(observer) for name, observer in observe.items()}, None))
        return logits if rows is None else logits.gather(1, rows[..., None].expand(-1, -1, logits.shape[-1]))

    def owns(self, cache: Any) -> bool:
        return self._inner.owns(cache)


@final
class AnswersFromMemory(dla.ModelAdapter):
    """Remembers runs by the size of the prompt, and shows the first one again for every other prompt of that size."""

    def __init__(self, model: Any) -> None:
        self._inner = dla.adapt(model)
        self._runs: dict[torch.Size, Tensor] = {}

    @property
    def anatomy(self) -> Anatomy:
        return self._inner.anatomy

    @property
    def vocabulary(self) -> Vocabulary:
        return self._inner.vocabulary

    def run(self, tokens: Tensor, observe: Mapping[str, Observer], rows: Tensor | None) -> Tensor:
        return self._inner.run(self._runs.setdefault(tokens.shape, tokens.clone()), observe, rows)

    def owns(self, cache: Any) -> bool:
        return self._inner.owns(cache)


def _readout(**changes: Any) -> Alter:
    return lambda anatomy: replace(anatomy, unembedding=replace(anatomy.unembedding, **changes))


def _norm(change: Callable[[dla.Norm], dla.Norm]) -> Alter:
    def alter(anatomy: Anatomy) -> Anatomy:
        norm = anatomy.unembedding.norm
        assert norm is not None
        return _readout(norm=change(norm))(anatomy)

    return alter


def _scale(change: Callable[[Tensor], Tensor]) -> Alter:
    """Reads the final norm's scale wrongly."""

    def alter(norm: dla.Norm) -> dla.Norm:
        return replace(norm, scale=replace(norm.scale, read=lambda scale: change(norm.scale.read(scale))))

    return _norm(alter)


def _sublayers(change: Callable[[Sublayer], Sublayer]) -> Alter:
    def alter(anatomy: Anatomy) -> Anatomy:
        blocks = [replace(block, sublayers=tuple(map(change, block.sublayers))) for block in anatomy.blocks]
        return replace(anatomy, blocks=tuple(blocks))

    return alter


def _heads(change: Callable[[Heads], Heads]) -> Alter:
    return _sublayers(lambda s: s if s.heads is None else replace(s, heads=change(s.heads)))


def drops_gamma(model: Any) -> dla.ModelAdapter:
    """The final norm has no weight."""
    return Altered(model, _norm(lambda norm: replace(norm, weight=None)))


def drops_beta(model: Any) -> dla.ModelAdapter:
    """The final norm has no bias."""
    return Altered(model, _norm(lambda norm: replace(norm, bias=None)))


def drops_b_U(model: Any) -> dla.ModelAdapter:
    """The unembedding has no bias."""
    return Altered(model, _readout(b_U=None))


def takes_layer_norm_for_rms_norm(model: Any) -> dla.ModelAdapter:
    """The final norm does not centre."""
    return Altered(model, _norm(lambda norm: replace(norm, centred=False)))


def takes_rms_norm_for_layer_norm(model: Any) -> dla.ModelAdapter:
    """The final norm centres."""
    return Altered(model, _norm(lambda norm: replace(norm, centred=True)))


def forgets_one_plus_w(model: Any) -> dla.ModelAdapter:
    """The final norm's weight as the checkpoint has it, where the model adds one to it."""
    return Altered(model, _norm(lambda norm: replace(norm, weight=None if norm.weight is None else norm.weight - 1)))


def takes_the_unbiased_variance(model: Any) -> dla.ModelAdapter:
    """The scale of `torch.std`, which divides by n - 1."""

    def alter(anatomy: Anatomy) -> Anatomy:
        width = anatomy.unembedding.W_U.shape[0]
        return _scale(lambda scale: scale * (width / (width - 1)) ** 0.5)(anatomy)

    return Altered(model, alter)


def takes_the_scale_of_the_position_before(model: Any) -> dla.ModelAdapter:
    """The final norm's scale, one position late."""
    return Altered(model, _scale(lambda scale: scale.roll(1, 1)))


def takes_the_logits_after_the_soft_cap(model: Any) -> dla.ModelAdapter:
    """The logits that the model returns, taken for those before its soft cap."""
    anatomy = dla.adapt(model).anatomy
    assert anatomy.unembedding.transform is not None
    name, cap = anatomy.unembedding.logits.name, anatomy.unembedding.transform
    return Altered(model, show=lambda seen, x: cap(x) if seen == name else x)


def forgets_the_residual_multiplier(model: Any) -> dla.ModelAdapter:
    """Sublayers are added as they are, where the model multiplies them first."""

    def alter(sublayer: Sublayer) -> Sublayer:
        write = sublayer.write
        assert isinstance(write, dla.FullOutput)
        return replace(sublayer, write=replace(write, route=replace(write.route, multiplier=1.0)))

    return Altered(model, _sublayers(alter))


def forgets_the_embedding_scale(model: Any) -> dla.ModelAdapter:
    """The embedding as the table has it, before the model multiplies it by √d."""

    def show(name: str, activation: Tensor) -> Tensor:
        return activation / activation.shape[-1] ** 0.5 if name == "hook_embed" else activation

    return Altered(model, show=show)


def flattens_W_O_the_other_way(model: Any) -> dla.ModelAdapter:
    """`W_O` read as `[d_head, head]`, where the model has `[head, d_head]`."""

    def alter(heads: Heads) -> Heads:
        count, d_head, _ = heads.W_O.shape
        weight = heads.W_O.flatten(0, 1).unflatten(0, (d_head, count)).transpose(0, 1)
        return replace(heads, W_O=weight)

    return Altered(model, _heads(alter))


def reads_z_of_the_position_before(model: Any) -> dla.ModelAdapter:
    """What heads read, one position late."""
    return Altered(model, show=lambda name, x: x.roll(1, 1) if name.endswith("hook_z") else x)


def shows_the_normed_stream_as_the_last(model: Any) -> dla.ModelAdapter:
    """The last hidden state, as Hugging Face returns it: with the final norm already applied."""

    def alter(anatomy: Anatomy) -> Anatomy:
        last = anatomy.blocks[-1]
        normed = replace(last.resid_post, site=anatomy.unembedding.normalised)
        return replace(anatomy, blocks=(*anatomy.blocks[:-1], replace(last, resid_post=normed)))

    return Altered(model, alter)
