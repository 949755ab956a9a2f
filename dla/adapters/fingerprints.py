"""By what a sweep recognises its model: fingerprints of the weights and the tokenizer, and the settings."""

import hashlib
from operator import itemgetter
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from dla.adapters.base import ModelAdapter
from dla.adapters.recognise.norms import EPSILONS

_CHUNK = 2**18  # how many entries one checksum covers

_EPSILONS = (*EPSILONS, "epsilon")
_ACTIVATIONS = ("act", "act_fn", "activation_fn", "activation")
# Texts that tokenizers split differently: case, digits, spaces, accents, code.
_TEXTS = (
    "The quick brown fox didn't jump over 2,048 lazy dogs!",
    " Zwölf  Boxkämpfer\n\tjagen\u00a0Viktor.",
    "x = f(y_1)",
)

_TOKENS = 4096  # how many tokens are compared where the vocabulary cannot be listed

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint(model: ModelAdapter) -> str:
    """Changes when a bit of a weight does; the same on every device.

    Covers all parameters and buffers of a `HookedTransformer` or `TransformerBridge`, and of any other adapter the
    weights of the readout.
    """
    total = hashlib.sha256()
    for name, tensor in sorted(model.tensors(), key=itemgetter(0)):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} {checksums(tensor)}\n".encode())
    return total.hexdigest()


def settings_of(model: ModelAdapter) -> dict[str, str]:
    """Each norm's ε and each activation function, by the path of the module: settings that no weight shows.

    Empty for adapters of other models than TransformerLens'.
    """
    source = model.source
    if not isinstance(source, nn.Module):
        return {}
    found: dict[str, str] = {}
    for path, module in source.named_modules():
        own = {**vars(module), **module._modules}
        place = path.replace("._original_component", "")
        found |= {f"{place}.{name}": repr(own[name]) for name in _EPSILONS if isinstance(own.get(name), float)}
        found |= {f"{place}.{name}": _name(own[name]) for name in _ACTIVATIONS if callable(own.get(name))}
    eps = getattr(getattr(source, "cfg", None), "eps", None)
    return found if eps is None else {**found, "cfg.eps": repr(eps)}


def tokenizer_fingerprint(model: ModelAdapter) -> str:
    """Changes with the id or text of a token, with how text is split into tokens, and with the default for BOS."""
    vocabulary = model.vocabulary
    if vocabulary.encode is None or vocabulary.decode is None:
        return "none"
    tokenizer = getattr(model.source, "tokenizer", None)
    if tokenizer is not None:
        tokens: Any = sorted(tokenizer.get_vocab().items())
    else:
        step = max(1, vocabulary.input_size // _TOKENS)
        tokens = [vocabulary.decode(token) for token in range(0, vocabulary.input_size, step)]
    pieces = [tokens, *(vocabulary.encode(text, None) for text in _TEXTS)]
    return hashlib.sha256(repr(pieces).encode("utf-8", "backslashreplace")).hexdigest()


def _name(function: Any) -> str:
    return type(function).__name__ if isinstance(function, nn.Module) else getattr(function, "__name__", "a function")


def checksums(tensor: Shaped[Tensor, "..."]) -> list[int]:
    """A number for each piece of a tensor: `Σ bits[i] * odd[i]` modulo 2^64, with another odd number at each `i`."""
    # Whole numbers only, since a float sum depends on the order in which a device adds. An odd factor loses no bit.
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    flat = real.detach().reshape(-1).contiguous()
    bits = flat.to(torch.uint8) if flat.dtype == torch.bool else flat.view(_INTEGERS[flat.element_size()])
    places = 2 * torch.arange(min(_CHUNK, len(bits)), device=bits.device) + 0x9E3779B97F4A7C1
    sums = [(piece.long() * places[: len(piece)]).sum() for piece in bits.split(_CHUNK)]
    return torch.stack(sums).tolist() if len(bits) else []
