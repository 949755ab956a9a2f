"""Direct logit attribution written out on a Hugging Face model, without a line of the library or of TransformerLens."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn


@final
@dataclass(frozen=True)
class Names:
    """Where a Hugging Face model keeps its parts; `{}` is the layer."""

    embeddings: dict[str, str]
    attention: str
    output: str
    mlp: str
    mlp_output: str
    norm: str
    centred: bool

    def of_layer(self) -> tuple[str, ...]:
        return self.attention, self.output, self.mlp, self.mlp_output


NAMES = {
    "gpt2": Names(
        {"embed": "transformer.wte", "pos_embed": "transformer.wpe"},
        "transformer.h.{}.attn",
        "transformer.h.{}.attn.c_proj",
        "transformer.h.{}.mlp",
        "transformer.h.{}.mlp.c_proj",
        "transformer.ln_f",
        True,
    ),
    "gpt_neox": Names(
        {"embed": "gpt_neox.embed_in"},
        "gpt_neox.layers.{}.attention",
        "gpt_neox.layers.{}.attention.dense",
        "gpt_neox.layers.{}.mlp",
        "gpt_neox.layers.{}.mlp.dense_4h_to_h",
        "gpt_neox.final_layer_norm",
        True,
    ),
    "gptj": Names(
        {"embed": "transformer.wte"},
        "transformer.h.{}.attn",
        "transformer.h.{}.attn.out_proj",
        "transformer.h.{}.mlp",
        "transformer.h.{}.mlp.fc_out",
        "transformer.ln_f",
        True,
    ),
    "phi": Names(
        {"embed": "model.embed_tokens"},
        "model.layers.{}.self_attn",
        "model.layers.{}.self_attn.dense",
        "model.layers.{}.mlp",
        "model.layers.{}.mlp.fc2",
        "model.final_layernorm",
        True,
    ),
    "llama-biases": Names(
        {"embed": "model.embed_tokens"},
        "model.layers.{}.self_attn",
        "model.layers.{}.self_attn.o_proj",
        "model.layers.{}.mlp",
        "model.layers.{}.mlp.down_proj",
        "model.norm",
        False,
    ),
    "qwen2": Names(
        {"embed": "model.embed_tokens"},
        "model.layers.{}.self_attn",
        "model.layers.{}.self_attn.o_proj",
        "model.layers.{}.mlp",
        "model.layers.{}.mlp.down_proj",
        "model.norm",
        False,
    ),
}

N_LAYERS, N_HEADS = 2, 4


@final
class ByHand:
    """A Hugging Face model with its parts' vectors read off its own modules."""

    def __init__(self, name: str, model: Any, tokens: Tensor) -> None:
        self.names, self.model, self.tokens = NAMES[name], model, tokens
        self._in: dict[str, Tensor] = {}
        self._out: dict[str, Tensor] = {}
        with torch.no_grad(), self._recording():
            self.logits: Tensor = model(tokens).logits
        self.stream = self._in[self.names.norm]
        self.scale = self._scale_of(self.stream)

    def components(self) -> dict[str, Tensor]:
        """What each embedding and sublayer adds to the stream."""
        parts = {label: self._out[path].expand_as(self.stream) for label, path in self.names.embeddings.items()}
        for layer in range(N_LAYERS):
            parts[f"{layer}_attn_out"] = self._out[self.names.attention.format(layer)]
            parts[f"{layer}_mlp_out"] = self._out[self.names.mlp.format(layer)]
        return parts

    def heads(self) -> dict[str, Tensor]:
        """What each head adds to the stream: its slice of the output matrix's input, times its slice of that matrix."""
        parts = {}
        for layer in range(N_LAYERS):
            z, weight = self._output_of(self.names.output.format(layer))
            width = z.shape[-1] // N_HEADS
            for head in range(N_HEADS):
                at = slice(head * width, (head + 1) * width)
                parts[f"L{layer}H{head}"] = z[..., at] @ weight[at]
        return parts

    def neurons(self) -> dict[str, Tensor]:
        """What each neuron adds to the stream: its activation times its row of the output matrix."""
        parts = {}
        for layer in range(N_LAYERS):
            post, weight = self._output_of(self.names.mlp_output.format(layer))
            for neuron in range(post.shape[-1]):
                parts[f"L{layer}N{neuron}"] = post[..., neuron, None] * weight[neuron]
        return parts

    def attribution(self, write: Tensor, token: int) -> Tensor:
        """What a write adds to a token's logit, the final norm's scale frozen."""
        centred = write - write.mean(-1, keepdim=True) if self.names.centred else write
        normed = centred / self.scale * self._module(self.names.norm).weight
        attribution: Tensor = (normed @ self._module("lm_head").weight[token]).detach()
        return attribution

    def logits_with(self, write: Tensor) -> Tensor:
        """The model's logits with a vector added to the stream before the final norm, whose scale stays as it was.

        The model's own norm and unembedding compute; the norm's output is only put back on the frozen scale.
        """
        norm = self._module(self.names.norm)

        def add(_: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
            return (args[0] + write,)

        def freeze(_: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
            bias = getattr(norm, "bias", None)
            bias = 0.0 if bias is None else bias
            return (output - bias) * self._scale_of(args[0]) / self.scale + bias

        handles = [norm.register_forward_pre_hook(add), norm.register_forward_hook(freeze)]
        try:
            with torch.no_grad():
                logits: Tensor = self.model(self.tokens).logits
        finally:
            for handle in handles:
                handle.remove()
        return logits

    def _output_of(self, path: str) -> tuple[Tensor, Tensor]:
        """What goes into an output matrix, and that matrix as `[in out]`."""
        module = self._module(path)
        weight = module.weight if type(module).__name__ == "Conv1D" else module.weight.T
        return self._in[path], weight.detach()

    def _module(self, path: str) -> Any:
        return self.model.get_submodule(path)

    def _scale_of(self, stream: Tensor) -> Tensor:
        norm = self._module(self.names.norm)
        eps = next(float(getattr(norm, n)) for n in ("eps", "variance_epsilon") if hasattr(norm, n))
        if self.names.centred:
            return (stream.var(-1, unbiased=False, keepdim=True) + eps).sqrt()
        return (stream.pow(2).mean(-1, keepdim=True) + eps).sqrt()

    @contextmanager
    def _recording(self) -> Iterator[None]:
        paths = [*self.names.embeddings.values(), self.names.norm]
        for layer in range(N_LAYERS):
            paths += [p.format(layer) for p in self.names.of_layer()]
        handles = [self._module(path).register_forward_hook(partial(self._record, path)) for path in paths]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _record(self, path: str, _: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if args:
            self._in[path] = args[0].detach()
        self._out[path] = (output[0] if isinstance(output, tuple) else output).detach()
