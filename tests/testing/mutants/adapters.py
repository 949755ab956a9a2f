"""Adapters that are wrong about their model, or show other activations than the model has."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

import dla
from dla.adapters import Anatomy, Block, Heads, Observer, Sublayer
from dla.adapters.base import Editing
from dla.adapters.reads import HeadReads
from dla.inputs import Vocabulary
from dla.testing import AlteredAdapter
from dla.testing.altered_adapter import AlterAnatomy
from mutants.altered import with_heads, with_norm, with_readout, with_sublayers


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


def reads_values_without_their_bias(model: Any) -> dla.ModelAdapter:
    """What heads make of the stream is said to be `x @ W_V`, and the model adds `b_V`."""
    reads = dla.adapt(model).reads
    assert reads is not None
    without = [[_without_bias(each) if isinstance(each, HeadReads) else each for each in block] for block in reads]
    return AlteredAdapter(model, reads=tuple(map(tuple, without)))


def _without_bias(reads: HeadReads) -> HeadReads:
    return replace(reads, values=replace(reads.values, bias=None))


def drops_gamma(model: Any) -> dla.ModelAdapter:
    """The final norm has no weight."""
    return AlteredAdapter(model, with_norm(lambda norm: replace(norm, weight=None)))


def drops_b_U(model: Any) -> dla.ModelAdapter:
    """The unembedding has no bias."""
    return AlteredAdapter(model, with_readout(b_U=None))


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


def reads_backwards(model: Any) -> dla.ModelAdapter:
    """Runs on the ids from the last to the first."""
    return AlteredAdapter(model, run=lambda inner, tokens, observe, rows: inner.run(tokens.flip(1), observe, rows))


def unembeds_the_first_prompts_positions(model: Any) -> dla.ModelAdapter:
    """Unembeds at the positions that are asked of the first prompt, in all prompts."""

    def run(inner: dla.ModelAdapter, tokens: Tensor, observe: Mapping[str, Observer], rows: Tensor | None) -> Tensor:
        return inner.run(tokens, observe, None if rows is None else rows[:1].expand_as(rows))

    return AlteredAdapter(model, run=run)


def writes_to_the_ids(model: Any) -> dla.ModelAdapter:
    """Puts padding over the last token when it has run."""

    def run(inner: dla.ModelAdapter, tokens: Tensor, observe: Mapping[str, Observer], rows: Tensor | None) -> Tensor:
        logits = inner.run(tokens, observe, rows)
        tokens[:, -1] = inner.vocabulary.pad
        return logits

    return AlteredAdapter(model, run=run)


def turns_the_pattern(model: Any) -> dla.ModelAdapter:
    """The attention pattern with the query for the source."""

    def alter(heads: Heads) -> Heads:
        assert heads.values is not None
        pattern = heads.values.pattern
        turned = replace(pattern, read=lambda p: pattern.read(p).transpose(-1, -2))
        return replace(heads, values=replace(heads.values, pattern=turned))

    return AlteredAdapter(model, with_heads(alter))


def _with_blocks(change: Callable[[Block], Block]) -> AlterAnatomy:
    return lambda anatomy: replace(anatomy, blocks=tuple(map(change, anatomy.blocks)))


def takes_the_end_for_the_middle(model: Any) -> dla.ModelAdapter:
    """The stream after a block, where that between its sublayers is asked for."""
    return AlteredAdapter(model, _with_blocks(lambda block: replace(block, resid_mid=block.resid_post)))


def halves_experts(model: Any) -> dla.ModelAdapter:
    """Experts reach the stream half as strong as they do."""

    def alter(sublayer: Sublayer) -> Sublayer:
        if sublayer.experts is None:
            return sublayer
        experts = replace(sublayer.experts.experts, route=dla.Route(multiplier=0.5))
        return replace(sublayer, experts=replace(sublayer.experts, experts=experts))

    return AlteredAdapter(model, with_sublayers(alter))


def forgets_a_post_norms_eps(model: Any) -> dla.ModelAdapter:
    """The norm after each sublayer with an eps that the model does not have."""

    def alter(route: dla.Route) -> dla.Route:
        return route if route.norm is None else replace(route, norm=replace(route.norm, eps=0.1))

    def of_outputs(sublayer: Sublayer) -> Sublayer:
        return replace(sublayer, outputs=tuple((site, alter(route)) for site, route in sublayer.outputs))

    return AlteredAdapter(model, with_sublayers(of_outputs))


def counts_layers_from_one(model: Any) -> dla.ModelAdapter:
    """Calls the attention of the first block `1_attn_out`."""

    def alter(sublayer: Sublayer) -> Sublayer:
        write = sublayer.write
        assert isinstance(write, dla.FullOutput)
        label = replace(write.label, layer=1 + (write.label.layer or 0))
        return replace(sublayer, write=replace(write, label=label))

    return AlteredAdapter(model, with_sublayers(alter))


def takes_another_eps(model: Any) -> dla.ModelAdapter:
    """The final norm with an eps that the model does not have."""
    return AlteredAdapter(model, with_norm(lambda norm: replace(norm, eps=1e-2)))


def forgets_the_soft_cap(model: Any) -> dla.ModelAdapter:
    """The logits before the soft cap are what the model is said to return."""
    return AlteredAdapter(model, with_readout(transform=lambda logits: logits))


def caps_by_the_largest_logit(model: Any) -> dla.ModelAdapter:
    """A soft cap at the largest logit, so that what one becomes depends on the others."""
    return AlteredAdapter(
        model, with_readout(transform=lambda logits: logits.abs().max() * (logits / logits.abs().max()).tanh())
    )


def allows_anything(model: Any) -> dla.ModelAdapter:
    """Says of a model in float32 that it rounds at the second decimal, so that every sum is right."""
    return AlteredAdapter(model, lambda anatomy: replace(anatomy, eps=1e-2))


def forgets_b_out(model: Any) -> dla.ModelAdapter:
    """An MLP is its neurons, and nobody writes `b_out`."""

    def alter(sublayer: Sublayer) -> Sublayer:
        neurons = sublayer.neurons
        return sublayer if neurons is None else replace(sublayer, neurons=replace(neurons, b_out=None))

    return AlteredAdapter(model, with_sublayers(alter))


def unembeds_with_another_module(model: Any) -> dla.ModelAdapter:
    """Names a module that unembeds something else than the model does."""
    module = torch.nn.Linear(32, dla.adapt(model).vocabulary.size)
    return AlteredAdapter(model, with_readout(module=module))


class PassesOn(dla.ModelAdapter):
    """The right adapter; what inherits from it gets one thing wrong."""

    def __init__(self, model: Any) -> None:
        self.model, self.right = model, dla.adapt(model)

    @property
    def anatomy(self) -> Anatomy:
        return self.right.anatomy

    @property
    def vocabulary(self) -> Vocabulary:
        return self.right.vocabulary

    def run(self, tokens: Tensor, observe: Mapping[str, Observer], rows: Tensor | None) -> Tensor:
        return self.right.run(tokens, observe, rows)

    def owns(self, cache: Any) -> bool:
        return self.right.owns(cache)


@final
class ScalesWhatItLooksAt(PassesOn):
    """Folds a factor into the embedding, in the model's own weights."""

    looked = False

    @property
    def anatomy(self) -> Anatomy:
        if not self.looked:
            self.looked = True
            with torch.no_grad():
                next(weight for weight in self.model.parameters() if weight.ndim > 1).mul_(1.01)
        return self.right.anatomy


@final
class RecordsGradients(PassesOn):
    """Logits that remember how they were made."""

    def run(self, tokens: Tensor, observe: Mapping[str, Observer], rows: Tensor | None) -> Tensor:
        return self.right.run(tokens, observe, rows).requires_grad_()


@final
class LeavesHooks(PassesOn):
    """Every observer stays, and is called in all later runs."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.left: dict[str, list[Observer]] = {}

    def run(self, tokens: Tensor, observe: Mapping[str, Observer], rows: Tensor | None) -> Tensor:
        for name, observer in observe.items():
            self.left.setdefault(name, []).append(observer)
        return self.right.run(tokens, {name: partial(_tell, these) for name, these in self.left.items()}, rows)


@final
class LeavesHooksAfterErrors(PassesOn):
    """Takes observers off when the run ends, which it does not do if one of them raises an error."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.left: dict[str, list[Observer]] = {}

    def run(self, tokens: Tensor, observe: Mapping[str, Observer], rows: Tensor | None) -> Tensor:
        for name, observer in observe.items():
            self.left.setdefault(name, []).append(observer)
        logits = self.right.run(tokens, {name: partial(_tell, these) for name, these in self.left.items()}, rows)
        self.left.clear()
        return logits


def _tell(observers: Sequence[Observer], activation: Tensor) -> None:
    for observer in observers:
        observer(activation)


@final
class DecodesTheNextToken(PassesOn):
    """A table of texts that begins one token late."""

    @property
    def vocabulary(self) -> Vocabulary:
        right = self.right.vocabulary
        assert right.decode is not None
        texts = [right.decode((token + 1) % right.size) for token in range(right.size)]
        return replace(right, decode=texts.__getitem__)


@final
class PromisesALongContext(PassesOn):
    """A model of 64 positions that is said to read 4096."""

    @property
    def context(self) -> int:
        return 4096


@final
class OwnsNoCache(PassesOn):
    """Refuses caches that do not say whose they are."""

    def owns(self, cache: Any) -> bool:
        return False


@final
class EditsNothing(PassesOn):
    """Takes what is to be edited, and edits nothing."""

    def editing(self, changes: Mapping[str, Editing]) -> AbstractContextManager[None]:
        return nullcontext()


@final
class ReadsAnotherLayersValues(PassesOn):
    """Says that values are made with the `W_V` of the other block."""

    @property
    def reads(self) -> Any:
        right: Any = self.right.reads
        return tuple((replace(h, values=right[i - 1][0].values), *more) for i, (h, *more) in enumerate(right))


@final
class ForgetsAnotherB_V(PassesOn):
    """Says that values have no bias, where `v` holds one."""

    @property
    def anatomy(self) -> Anatomy:
        def alter(heads: Heads) -> Heads:
            assert heads.values is not None
            return replace(heads, values=replace(heads.values, b_V=None))

        return with_heads(alter)(self.right.anatomy)

    @property
    def reads(self) -> Any:
        return self.right.reads


@final
class TakesTheUpForTheGate(PassesOn):
    """The gate and what it multiplies, the one for the other."""

    @property
    def reads(self) -> Any:
        right: Any = self.right.reads
        return tuple((heads, replace(mlp, pre=mlp.up, up=mlp.pre)) for heads, mlp in right)


def forgets_the_post_norm_of_outputs(model: Any) -> dla.ModelAdapter:
    """Shows a sublayer's output before its post-norm, as if it were added to the stream like that."""

    def alter(sublayer: Sublayer) -> Sublayer:
        return replace(sublayer, outputs=tuple((site, replace(route, norm=None)) for site, route in sublayer.outputs))

    return AlteredAdapter(model, with_sublayers(alter))


def gives_a_reason_for_nothing(model: Any) -> dla.ModelAdapter:
    """Says why there are no "head", which are "attention heads" in messages."""
    return AlteredAdapter(model, with_sublayers(lambda s: replace(s, reasons={"head": "there are none"})))


def has_no_name(model: Any) -> dla.ModelAdapter:
    """A model without a name, so that no file says of what it is."""
    return AlteredAdapter(model, lambda anatomy: replace(anatomy, name=""))


@final
class PadsWithBOS(PassesOn):
    """Pads with BOS, and says that padding never occurs as text."""

    @property
    def vocabulary(self) -> Vocabulary:
        return replace(self.right.vocabulary, pad=self.right.vocabulary.bos, pad_is_text=False)
