"""What a sweep must know of a model beyond its anatomy: by what its weights, settings and tokenizer are known again."""

import hashlib
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn

from dla.adapters.base import ModelAdapter

_CHUNK = 2**18
_EPSILONS, _ACTIVATIONS = ("eps", "variance_epsilon", "epsilon"), ("act", "act_fn", "activation_fn", "activation")
_TEXTS = (
    "The quick brown fox didn't jump over 2,048 lazy dogs!",
    " Zwölf  Boxkämpfer\n\tjagen\u00a0Viktor.",
    "x = f(y_1)",
)
_TOKENS = 4096
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint(model: ModelAdapter) -> str:
    """Changes when a weight does, by a bit; is the same on every device.

    All parameters and buffers of a `HookedTransformer` or `TransformerBridge` count; of other adapters, those at the
    readout.
    """
    total = hashlib.sha256()
    for name, tensor in sorted(model.tensors(), key=itemgetter(0)):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} {checksums(tensor)}\n".encode())
    return total.hexdigest()


def settings_of(model: ModelAdapter) -> dict[str, str]:
    """Each norm's ε and each activation function, by the place of the module: what is set and is no weight.

    Of other adapters than those of TransformerLens' models nothing is known.
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
    """Changes when a token gets another id or text, when text is cut otherwise, or with the BOS token's default."""
    vocabulary = model.vocabulary
    if vocabulary.encode is None or vocabulary.decode is None:
        return "none"
    tokenizer = getattr(model.source, "tokenizer", None)
    if tokenizer is not None:
        tokens: Any = sorted(tokenizer.get_vocab().items())
    else:
        step = max(1, vocabulary.input_size // _TOKENS)
        tokens = [vocabulary.decode(token) for token in range(0, vocabulary.input_size, step)]
    told = [tokens, *(vocabulary.encode(text, None) for text in _TEXTS)]
    return hashlib.sha256(repr(told).encode("utf-8", "backslashreplace")).hexdigest()


def _name(function: Any) -> str:
    return type(function).__name__ if isinstance(function, nn.Module) else getattr(function, "__name__", "a function")


def checksums(tensor: Tensor) -> list[int]:
    """A number for each piece of a tensor: Σ bits · odd number of the place, modulo 2^64, in whole numbers only."""
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    flat = real.detach().reshape(-1).contiguous()
    bits = flat.to(torch.uint8) if flat.dtype == torch.bool else flat.view(_INTEGERS[flat.element_size()])
    places = 2 * torch.arange(min(_CHUNK, len(bits)), device=bits.device) + 0x9E3779B97F4A7C1
    sums = [(piece.long() * places[: len(piece)]).sum() for piece in bits.split(_CHUNK)]
    return torch.stack(sums).tolist() if len(bits) else []
