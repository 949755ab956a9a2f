"""Direct logit attribution of a Llama, in float64, from what PyTorch's hooks see of its modules.

There is not a line of the library or of TransformerLens in here: a head is its slice of what enters the output
projection, times its slice of that matrix; a neuron is its entry of what enters the down projection, times its column;
a source is an attention probability times a value. Each is read by `γ · W_U[token] / σ`, with the σ of this run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, final

import torch
from real_models import ids_of, plain
from torch import Tensor, nn

Rows = dict[str, Tensor]
"""By label, `[pos]`."""


@final
@dataclass(frozen=True)
class Weights:
    """A Llama's own parameters, as `nn.Linear` and its norms hold them."""

    o_proj: tuple[Tensor, ...]
    down_proj: tuple[Tensor, ...]
    gamma: Tensor
    eps: float
    lm_head: Tensor
    n_heads: int

    @staticmethod
    def of(model: Any) -> "Weights":
        layers = model.model.layers
        return Weights(
            tuple(layer.self_attn.o_proj.weight.detach() for layer in layers),
            tuple(layer.mlp.down_proj.weight.detach() for layer in layers),
            model.model.norm.weight.detach(),
            model.model.norm.variance_epsilon,
            model.lm_head.weight.detach(),
            model.config.num_attention_heads,
        )


@final
@dataclass(frozen=True)
class Run:
    """One prompt, run alone.

    Attributes:
        weights: The model's.
        tokens: `[pos]`.
        seen: What entered (`in`) and left (`out`) the modules, `[pos width]`, by name and layer.
        patterns: Attention probabilities by layer, `[head pos source]`; empty where nobody asked.
        logits: What the model answered, `[pos d_vocab]`.
    """

    weights: Weights
    tokens: Tensor
    seen: dict[tuple[str, int], Tensor]
    patterns: tuple[Tensor, ...]
    logits: Tensor

    @property
    def n_layers(self) -> int:
        return len(self.weights.o_proj)

    def at(self, what: str, layer: int = 0) -> Tensor:
        """What was seen, in float64."""
        return self.seen[what, layer].double()

    def sigma(self, stream: Tensor) -> Tensor:
        """The scale by which the final norm would divide a stream, `[pos 1]`."""
        return (stream.pow(2).mean(-1, keepdim=True) + self.weights.eps).sqrt()

    def normed(self) -> Tensor:
        """What leaves the final norm, `[pos d_model]`."""
        stream = self.at("stream")
        return stream / self.sigma(stream) * self.weights.gamma.double()

    def reading(self, weights: dict[int, float] | Tensor) -> Tensor:
        """What reads the final norm's output: `W_U`'s rows, weighted. A tensor `[pos]` names a token a position."""
        if isinstance(weights, Tensor):
            return self.weights.lm_head[weights].double()
        return sum((factor * self.weights.lm_head[i].double() for i, factor in weights.items()), torch.zeros(()))

    def direction(self, reading: Tensor) -> Tensor:
        """What reads the stream before the final norm, its scale frozen, `[pos d_model]`."""
        return reading * self.weights.gamma.double() / self.sigma(self.at("stream"))

    def streams(self) -> dict[str, Tensor]:
        """The residual stream at each place, `[pos d_model]`."""
        places = {}
        for layer in range(self.n_layers):
            places[f"{layer}_pre"], places[f"{layer}_mid"] = self.at("pre", layer), self.at("mid", layer)
        return {**places, "final_post": self.at("stream")}


def components(run: Run, d: Tensor) -> Rows:
    """Embedding and sublayers."""
    return {**embedding(run, d), **attentions(run, d), **mlps(run, d)}


def embedding(run: Run, d: Tensor) -> Rows:
    return {"embed": (run.at("embed") * d).sum(-1)}


def attentions(run: Run, d: Tensor) -> Rows:
    return {f"{layer}_attn_out": (run.at("attn", layer) * d).sum(-1) for layer in range(run.n_layers)}


def mlps(run: Run, d: Tensor) -> Rows:
    return {f"{layer}_mlp_out": (run.at("mlp", layer) * d).sum(-1) for layer in range(run.n_layers)}


def heads_alone(run: Run, d: Tensor) -> Rows:
    rows = {}
    for layer, matrix in enumerate(run.weights.o_proj):
        z, read = (x.unflatten(-1, (run.weights.n_heads, -1)) for x in (run.at("z", layer), d @ matrix.double()))
        for head, values in enumerate((z * read).sum(-1).unbind(-1)):
            rows[f"L{layer}H{head}"] = values
    return rows


def neurons_alone(run: Run, d: Tensor) -> Rows:
    rows = {}
    for layer, matrix in enumerate(run.weights.down_proj):
        for neuron, values in enumerate((run.at("post", layer) * (d @ matrix.double())).unbind(-1)):
            rows[f"L{layer}N{neuron}"] = values
    return rows


def sources_alone(run: Run, d: Tensor) -> Rows:
    """A head reads its group's values: with 9 heads and 3 groups, heads 0 to 2 read group 0."""
    rows, n_heads = {}, run.weights.n_heads
    for layer, matrix in enumerate(run.weights.o_proj):
        read = (d @ matrix.double()).unflatten(-1, (n_heads, -1))
        values = run.at("v", layer).unflatten(-1, (-1, read.shape[-1]))
        values = values.repeat_interleave(n_heads // values.shape[1], 1)
        moved = torch.einsum("qhe,she,hqs->hsq", read, values, run.patterns[layer].double())
        for head in range(n_heads):
            for source in range(len(run.tokens)):
                rows[f"L{layer}H{head} ← {source}"] = moved[head, source]
    return rows


def heads(run: Run, d: Tensor) -> Rows:
    return {**embedding(run, d), **heads_alone(run, d), **mlps(run, d)}


def neurons(run: Run, d: Tensor) -> Rows:
    return {**embedding(run, d), **attentions(run, d), **neurons_alone(run, d)}


def sources(run: Run, d: Tensor) -> Rows:
    return {**embedding(run, d), **sources_alone(run, d), **mlps(run, d)}


def heads_and_neurons(run: Run, d: Tensor) -> Rows:
    return {**embedding(run, d), **heads_alone(run, d), **neurons_alone(run, d)}


def blocks(run: Run, d: Tensor) -> Rows:
    attention, mlp = attentions(run, d).values(), mlps(run, d).values()
    pairs = zip(attention, mlp, strict=True)
    return {**embedding(run, d), **{f"{layer}_block": a + m for layer, (a, m) in enumerate(pairs)}}


def embedding_and_blocks(run: Run, d: Tensor) -> Rows:
    """All blocks together: what the final stream has that the embedding had not."""
    return {**embedding(run, d), "blocks": ((run.at("stream") - run.at("embed")) * d).sum(-1)}


def without_biases(run: Run, d: Tensor) -> Rows:
    """This model has no bias, so each sublayer is all of itself."""
    kinds = {"attn_out": "heads", "mlp_out": "neurons", "embed": "embed"}
    return {
        "_".join([*label.split("_")[:1], kinds[label.partition("_")[2]]]) if "_" in label else label: values
        for label, values in components(run, d).items()
    }


def layers(run: Run, d: Tensor) -> Rows:
    return {place: (stream * d).sum(-1) for place, stream in run.streams().items()}


def lens(run: Run, d: Tensor) -> Rows:
    """Each place on its own scale."""
    final = run.sigma(run.at("stream"))
    return {place: (stream * d * final / run.sigma(stream)).sum(-1) for place, stream in run.streams().items()}


FIRST_HEADS, OTHER_HEADS, LATE_MLPS = "first heads", "mover", "late MLPs"


def groups(run: Run, d: Tensor) -> Rows:
    """The heads of layer 0, two heads of layer 23, the MLPs from layer 24 on; all else stays."""
    rows = heads(run, d)
    names = {f"L0H{head}": FIRST_HEADS for head in range(9)} | {"L23H4": OTHER_HEADS, "L23H1": OTHER_HEADS}
    names |= {f"{layer}_mlp_out": LATE_MLPS for layer in range(24, 30)}
    grouped: Rows = {}
    for label, values in rows.items():
        name = names.get(label, label)
        grouped[name] = grouped.get(name, torch.zeros(())) + values
    return grouped


@cache
def run_of(text: str) -> Run:
    """A prompt through the untouched float32 model."""
    return record(plain(), ids_of(text))


def record(model: Any, tokens: Tensor) -> Run:
    """Runs one prompt, and keeps what its modules took in and gave."""
    seen: dict[tuple[str, int], Tensor] = {}
    with torch.no_grad(), recording(places_of(model), seen):
        answer = model(tokens[None], output_attentions=True, use_cache=False)
    patterns = tuple(pattern[0] for pattern in answer.attentions)
    return Run(Weights.of(model), tokens, seen, patterns, answer.logits[0])


LabelIndex = Sequence[tuple[tuple[str, int], nn.Module, bool]]
"""What is seen, the module that shows it, and whether it enters that module or leaves it."""


def places_of(model: Any) -> LabelIndex:
    """Where a Hugging Face Llama shows what is needed."""
    places = [(("embed", 0), model.model.embed_tokens, False), (("stream", 0), model.model.norm, True)]
    for i, layer in enumerate(model.model.layers):
        places += [
            (("pre", i), layer.input_layernorm, True),
            (("v", i), layer.self_attn.v_proj, False),
            (("z", i), layer.self_attn.o_proj, True),
            (("attn", i), layer.self_attn.o_proj, False),
            (("mid", i), layer.post_attention_layernorm, True),
            (("post", i), layer.mlp.down_proj, True),
            (("mlp", i), layer.mlp.down_proj, False),
        ]
    return places


@contextmanager
def recording(places: LabelIndex, seen: dict[tuple[str, int], Tensor]) -> Iterator[None]:
    """Plain PyTorch hooks on the modules, for prompts that are run alone."""

    def keep(what: tuple[str, int], entering: bool, _: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        seen[what] = (args[0] if entering else output)[0].detach().clone()

    handles = [module.register_forward_hook(partial(keep, what, entering)) for what, module, entering in places]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
