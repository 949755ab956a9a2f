"""A Hugging Face model made linear by hand: patterns, norm scales and activation ratios are detached.

Its gradients are what a trace must give.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional

from dla.testing.models import architecture


@final
@dataclass(frozen=True)
class Parts:
    """Where a Hugging Face model keeps what is frozen; `{}` is the layer."""

    block: str
    attention_output: str
    mlp: str
    norms: tuple[str, ...]
    final_norm: str
    embeddings: tuple[str, ...]


PARTS = {
    "gpt2": Parts(
        "transformer.h.{}",
        "transformer.h.{}.attn.c_proj",
        "transformer.h.{}.mlp",
        ("transformer.h.{}.ln_1", "transformer.h.{}.ln_2"),
        "transformer.ln_f",
        ("transformer.wte", "transformer.wpe"),
    ),
    "llama": Parts(
        "model.layers.{}",
        "model.layers.{}.self_attn.o_proj",
        "model.layers.{}.mlp",
        ("model.layers.{}.input_layernorm", "model.layers.{}.post_attention_layernorm"),
        "model.norm",
        ("model.embed_tokens",),
    ),
}


@final
class FrozenByHand:
    """One run of a frozen copy: what it recorded still has its gradients."""

    def __init__(self, name: str, tokens: Tensor, frozen_gate: float = 1.0) -> None:
        self.parts, self.model = PARTS[name], architecture(name).hugging_face(dtype=torch.float64)
        self.model.set_attn_implementation("eager")
        self.model.requires_grad_(False)
        self.seen: dict[str, Tensor] = {}
        with self._frozen(frozen_gate):
            self.logits: Tensor = self.model(tokens).logits

    def entering(self, path: str) -> Tensor:
        return self.seen[f"{path} <"]

    def leaving(self, path: str) -> Tensor:
        return self.seen[f"{path} >"]

    def module(self, path: str) -> Any:
        return self.model.get_submodule(path)

    @contextmanager
    def _frozen(self, frozen_gate: float) -> Iterator[None]:
        softmax = functional.softmax
        handles = []
        for layer in range(2):
            mlp = self.module(self.parts.mlp.format(layer))
            _freeze_mlp(mlp, frozen_gate)
            for path in (*self.parts.norms, self.parts.final_norm):
                _freeze_norm(self.module(path.format(layer)))
        for path, module in self.model.named_modules():
            handles.append(module.register_forward_hook(self._recorder(path), with_kwargs=True))
        first = self.module(self.parts.embeddings[0])
        handles.append(first.register_forward_hook(lambda _, args, output: output.requires_grad_(), prepend=True))
        try:
            with patch.object(functional, "softmax", lambda *args, **kwargs: softmax(*args, **kwargs).detach()):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _recorder(self, path: str) -> Any:
        def record(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            entered = args[0] if args else kwargs.get("hidden_states")
            if isinstance(entered, Tensor):
                self.seen[f"{path} <"] = entered
            self.seen[f"{path} >"] = output[0] if isinstance(output, tuple) else output

        return record


def writes(frozen: FrozenByHand, layer: int) -> dict[str, Tensor]:
    """What was added to the stream before a block."""
    parts = {"embed": frozen.leaving(frozen.parts.embeddings[0])}
    if len(frozen.parts.embeddings) > 1:
        parts["pos_embed"] = frozen.leaving(frozen.parts.embeddings[1])
    for before in range(layer):
        attention = frozen.parts.attention_output.format(before).rpartition(".")[0]
        parts |= {f"{before}_attn_out": frozen.leaving(attention)}
        parts |= {f"{before}_mlp_out": frozen.leaving(frozen.parts.mlp.format(before))}
    return {name: write.detach() for name, write in parts.items()}


def _freeze_norm(norm: Any) -> None:
    def layer_norm(x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return norm.weight * centred / (centred.pow(2).mean(-1, keepdim=True) + norm.eps).sqrt().detach() + norm.bias

    def rms_norm(x: Tensor) -> Tensor:
        return norm.weight * x / (x.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon).sqrt().detach()

    norm.forward = layer_norm if isinstance(norm, nn.LayerNorm) else rms_norm


def _freeze_mlp(mlp: Any, share: float) -> None:
    if not hasattr(mlp, "gate_proj"):
        act = mlp.act
        mlp.act = _Secant(act)
        return
    act = mlp.act_fn

    def forward(x: Tensor) -> Tensor:
        gate, up = mlp.gate_proj(x), mlp.up_proj(x)
        through_up, through_gate = act(gate).detach() * up, gate * (act(gate) / gate).detach() * up.detach()
        output: Tensor = mlp.down_proj(share * through_up + (1 - share) * through_gate)
        return output

    mlp.forward = forward


@final
class _Secant(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.act(x) / x).detach()
