"""The models that are timed: random weights, in the shapes of models that people use."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, final

import torch
import transformers
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import build_bridge_from_module


@final
@dataclass(frozen=True)
class Shape:
    """One model.

    Attributes:
        name: For the table.
        architecture: The Hugging Face class.
        config: Its configuration.
        dtype: Of weights and activations.
        rewritable: Whether compatibility mode is tried, which TransformerLens' own function wants; it needs several
            copies of the weights.
    """

    name: str
    architecture: str
    config: Mapping[str, Any]
    dtype: torch.dtype = torch.float32
    rewritable: bool = True


def _gpt2(**sizes: int) -> Mapping[str, Any]:
    return MappingProxyType({"model_type": "gpt2", "bos_token_id": 0, "eos_token_id": 0, **sizes})


TINY = Shape("tiny", "GPT2LMHeadModel", _gpt2(n_embd=64, n_layer=2, n_head=4, n_positions=256, vocab_size=500))
GPT2_SMALL = Shape(
    "GPT-2 small", "GPT2LMHeadModel", _gpt2(n_embd=768, n_layer=12, n_head=12, n_positions=1024, vocab_size=50257)
)
LONG = Shape(
    "2 layers, context 8192",
    "GPT2LMHeadModel",
    _gpt2(n_embd=256, n_layer=2, n_head=4, n_positions=8192),
    rewritable=False,
)
LLAMA_1B = Shape(
    "Llama 1.1B, bfloat16",
    "LlamaForCausalLM",
    MappingProxyType(
        {
            "model_type": "llama",
            "hidden_size": 2048,
            "num_hidden_layers": 22,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "intermediate_size": 5632,
            "vocab_size": 32000,
            "max_position_embeddings": 2048,
        }
    ),
    torch.bfloat16,
    rewritable=False,
)
LLAMA_8B = Shape(
    "Llama 3 8B, bfloat16",
    "LlamaForCausalLM",
    MappingProxyType(
        {
            "model_type": "llama",
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "intermediate_size": 14336,
            "vocab_size": 128256,
            "max_position_embeddings": 1024,
        }
    ),
    torch.bfloat16,
    rewritable=False,
)


def make_bridge(
    shape: Shape, device: str, compatibility: bool = False, tokenizer: Any = None, attention: str = "eager"
) -> TransformerBridge:
    """A bridge of that shape with random weights, made on the device."""
    torch.manual_seed(0)
    options = dict(shape.config)
    config = transformers.AutoConfig.for_model(options.pop("model_type"), **options)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=shape.dtype)
    model.eval().to(device).config.architectures = [shape.architecture]
    bridge = build_bridge_from_module(model, shape.architecture, hf_config=model.config, tokenizer=tokenizer)
    if compatibility:
        bridge.enable_compatibility_mode()
    return bridge
