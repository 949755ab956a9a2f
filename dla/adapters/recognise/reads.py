"""What sublayers read, recognised: the norm that the stream enters by, and what is made of its output.

Found when it is first asked for, by one more small pass. As with all that is recognised, names only say where to look:
a hypothesis holds when it gives, entry by entry, what the hooks showed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from dla.adapters.affine import Affine
from dla.adapters.anatomy import Anatomy, Block, Heads, Mixture, Neurons, Sublayer
from dla.adapters.reads import HeadReads, ModelReads, NeuronReads, Read, StreamEntry, SublayerReads
from dla.adapters.recognise.activation_functions import activation_functions
from dla.adapters.recognise.attention import projection
from dla.adapters.recognise.expert_reads import recognise_expert_reads
from dla.adapters.recognise.linear import Linear, candidate_linears, writer_of
from dla.adapters.recognise.match import MODULE_INPUT, cast_from, explained, like_stream
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.norms import ScaleOf, explains_norm, recognise_norm
from dla.adapters.recognise.recording import Recording, widened
from dla.adapters.recognise.scores import recognise_scores
from dla.writes import BoundedValue, Computation, FullOutput, Norm, Precision
from dla.writes.routes import Activations
from dla.writes.sites import Site

_ROUNDINGS = 16
"""How many roundings an activation function may make of its argument's size."""


def recognise_reads(model: ModelModules, recording: Recording, anatomy: Anatomy) -> ModelReads:
    """What each sublayer of each block reads, or why that is not known.

    Args:
        model: The model's modules.
        recording: What was seen.
        anatomy: The model's.
    """
    return tuple(
        tuple(_Reader(model, recording, i, block).sublayer(sublayer) for sublayer in block.sublayers)
        for i, block in enumerate(anatomy.blocks)
    )


@final
@dataclass(frozen=True)
class _Reader:
    """One block of a recording: recognises what its sublayers read."""

    model: ModelModules
    recording: Recording
    layer: int
    block: Block

    def sublayer(self, sublayer: Sublayer) -> SublayerReads:
        if sublayer.heads is not None:
            return self._heads(sublayer.heads)
        if sublayer.neurons is not None:
            return self._neurons(sublayer.neurons)
        if sublayer.experts is not None:
            return self._experts(sublayer.experts)
        return "neither heads nor neurons are known to add up to it"

    def _heads(self, heads: Heads) -> SublayerReads:
        path = heads.z.name.rpartition(".")[0]
        if heads.values is None:
            return "the pattern and the values of its heads are not known"
        entered = self._entered(path)
        if isinstance(entered, str):
            return entered
        module = self._module(path)
        found = projection(module, self.recording, heads.values.v, entered, "V")
        if found is None:
            return f"its values are not what enters {path} times a matrix"
        entry = self._entry(path, entered)
        if isinstance(entry, str):
            return entry
        scores = recognise_scores(path, module, self.recording, entered, len(heads.W_O))
        return HeadReads(entry, Affine(found.weight, found.bias), scores)

    def _neurons(self, neurons: Neurons) -> SublayerReads:
        path = neurons.post.name.rpartition(".")[0]
        entered = self._entered(path)
        if isinstance(entered, str):
            return entered
        entry = self._entry(path, entered)
        if isinstance(entry, str):
            return entry
        made = _Made(path, self._module(path), self.recording, entered, neurons.post)
        return made.reads(entry)

    def _experts(self, mixture: Mixture) -> SublayerReads:
        x, path = mixture.experts.x, mixture.experts.x.name.rpartition(".experts.")[0]
        entered = like_stream(self.recording.hooks[x.name], self._seen(self.block.resid_pre))
        if entered is None:
            return f"what enters {path} is not seen"
        entry = self._entry(path, entered)
        if isinstance(entry, str):
            return entry
        return recognise_expert_reads(path, self._module, self.recording, mixture.experts, entry)

    def _module(self, path: str) -> nn.Module:
        return self.model.children[self.layer][path.split(".", 2)[2]]

    def _entered(self, path: str) -> Float[Tensor, "batch pos d_model"] | str:
        """What enters a module of the block."""
        name = path.split(".", 2)[2]
        if name not in self.model.children[self.layer]:
            return f"{path} is no module of its block"
        stream = self.recording.hooks[self.block.resid_pre.site.name]
        # A module that a bridge only stands for is not called; then its first matrix shows what enters.
        called = path in self.recording.inputs
        shown = self.recording.inputs[path] if called else self.recording.activation(f"{path}.in.hook_in")
        entered = like_stream(shown, stream)
        if entered is None:
            return f"what enters {path} is not seen"
        # With `use_split_qkv_input` each head has an input of its own, and each passes the norm.
        return entered if entered.shape == stream.shape else f"each head of {path} has an input of its own"

    def _entry(self, path: str, entered: Float[Tensor, "batch pos d_model"]) -> StreamEntry | str:
        """The place of the stream, and the norm, that make what enters a module."""
        for place in self._places():
            if cast_from(self._seen(place), entered):
                return StreamEntry(place, None, self._shown_at(entered, place, None))
        for place, norm in self._norms(entered):
            shown = self.recording.activation(norm.scale.name)
            if shown is not None and shown.shape[:2] == entered.shape[:2]:
                return StreamEntry(place, norm, self._shown_at(entered, place, norm))
            # HookedTransformer normalises the input of queries, keys and values one after the other, and some models
            # show all prompts as one axis.
            computed = None if norm.eps is None else replace(norm, scale=_scale_of(place.site, norm.eps, norm.centred))
            if computed is not None and explains_norm(computed, self.recording, self._seen(place), entered) is not None:
                return StreamEntry(place, computed, self._shown_at(entered, place, computed))
        return f"what enters {path} is not a norm of the stream at a place that a hook shows"

    def _shown_at(
        self, entered: Float[Tensor, "batch pos d_model"], place: FullOutput, norm: Norm | None
    ) -> Mapping[str, Norm | None]:
        """The hooks of the block that show what enters, or what it is before the norm's weight and bias."""
        found: dict[str, Norm | None] = {}
        bare = None if norm is None else replace(norm, weight=None, bias=None)
        for name, shown in self.recording.hooks.items():
            same = name.startswith(f"blocks.{self.layer}.") and name not in self.recording.repeated
            if not same or shown.shape != entered.shape or not shown.is_floating_point():
                continue
            if cast_from(entered, shown):
                found[name] = norm
            elif bare is not None and explains_norm(bare, self.recording, self._seen(place), shown) is not None:
                found[name] = bare
        return found

    def _places(self) -> Iterator[FullOutput]:
        yield self.block.resid_pre
        if self.block.resid_mid is not None:
            yield self.block.resid_mid

    def _seen(self, place: FullOutput) -> Float[Tensor, "batch pos d_model"]:
        return self.recording.read(place.site)

    def _norms(self, entered: Float[Tensor, "batch pos d_model"]) -> Iterator[tuple[FullOutput, Norm]]:
        """The norms of the block whose output was seen there, each with the place that it reads."""
        for child, module in self.model.children[self.layer].items():
            path = f"blocks.{self.layer}.{child}"
            seen = (calls.get(path) for calls in (self.recording.inputs, self.recording.outputs))
            before, after = (like_stream(each, entered) for each in seen)
            if before is None or after is None or not cast_from(after, entered):
                continue
            for place in self._places():
                if cast_from(self._seen(place), before):
                    norm = recognise_norm(path, module, self.recording, self.model.centred)
                    if norm is not None:
                        yield place, norm


def _scale_of(stream: Site, eps: float, centred: bool) -> Site:
    return replace(stream, read=ScaleOf(eps, centred))


@final
@dataclass(frozen=True)
class _Made:
    """The activations of an MLP: recognises what they are made of."""

    path: str
    module: nn.Module
    recording: Recording
    entered: Float[Tensor, "batch pos d_model"]
    post: Site

    def reads(self, entry: StreamEntry) -> NeuronReads | str:
        """What they are made of, or why that is not known."""
        pre = list(self._maps("hook_pre", [("W_gate", "b_gate"), ("W_in", "b_in")]))
        up = list(self._maps("hook_pre_linear", [("W_in", "b_in"), ("W_gate", "b_gate")]))
        if not pre:
            return f"no hook of {self.path} shows what enters it times a matrix"
        gated = [(gate, linear) for gate in pre for linear in up]
        pairs: list[tuple[Read, Read | None]] = [*gated, *((linear, gate) for gate, linear in gated)] or [
            (each, None) for each in pre
        ]
        biases = [None] if (b_in := self._bias()) is None else [None, b_in]
        for act in activation_functions(self.module):
            for (one, other), bias in ((pair, bias) for pair in pairs for bias in biases):
                guess = NeuronReads(entry, one, other, bias, act)
                if self._explains(guess):
                    return guess
        return f"the activations of {self.path} are no function, neuron by neuron, of what its hooks show"

    def _maps(self, hook: str, weights: Sequence[tuple[str, str]]) -> Iterator[Read]:
        """What a hook shows as a matrix times what enters, if that is what it shows."""
        name = f"{self.path}.{hook}"
        seen = like_stream(self.recording.activation(name), self.entered)
        if seen is None:
            return
        flattened = self.recording.hooks[name].shape[:2] != self.entered.shape[:2]
        for weight, bias in weights:
            for linear in candidate_linears(
                self.module, writer_of(self.module, hook), weight, bias, self.entered.shape[-1]
            ):
                for guess in (linear, replace(linear, bias=None)):
                    if self._makes(guess, seen):
                        bias_ = guess.bias if guess.bias is not None and bool(guess.bias.any()) else None
                        yield Read(Site(name, flattened=flattened), Affine(guess.weight, bias_))
                        return

    def _makes(self, linear: Linear, seen: Shaped[Tensor, "..."]) -> bool:
        step, activations = linear.product(MODULE_INPUT), {MODULE_INPUT: widened(self.entered)}
        return explained(step, activations, seen, self.entered.dtype, linear.dtype) is not None

    def _bias(self) -> Float[Tensor, " neuron"] | None:
        """A bias that may be added to the product of gate and up, as HookedTransformer does."""
        b_in = getattr(self.module, "b_in", None)
        usable = isinstance(b_in, Tensor) and not b_in.is_meta and b_in.ndim == 1 and bool(b_in.any())
        return b_in.detach() if usable and isinstance(b_in, Tensor) else None

    def _explains(self, guess: NeuronReads) -> bool:
        seen = self.recording.read(self.post)
        sites = guess.sites
        dtypes = self.recording.dtypes(sites)
        return explained(lambda p: _Activated(guess, p), self.recording.at(sites), seen, *dtypes) is not None


@final
@dataclass(frozen=True, eq=False)
class _Activated(Computation):
    """The activations of neurons, made of what they read."""

    guess: NeuronReads
    precision: Precision

    @property
    def reads(self) -> tuple[Site, ...]:
        return self.guess.sites

    def at(self, activations: Activations) -> BoundedValue:
        guess, value = self.guess, self.guess.activated(activations)
        size = value.abs() + activations[guess.pre.site].abs()
        if guess.up is not None:
            size = size + (activations[guess.pre.site] * activations[guess.up.site]).abs()
        if guess.bias is not None:
            value, size = value + guess.bias.to(value), size + guess.bias.to(value).abs()
        return BoundedValue(value, _ROUNDINGS * self.precision.unit * size + self.precision.least)
