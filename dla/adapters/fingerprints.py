"""By what a sweep or a file recognises its model: fingerprints of the weights and the tokenizer, and the settings."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
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

# What a configuration says that changes no logit: which hooks there are, tokens in front, how it was made.
_NOT_COMPUTING = frozenset(
    """
    use_attn_result use_split_qkv_input use_hook_mlp_in use_attn_in use_hook_tokens ungroup_grouped_query_attention
    default_prepend_bos tokenizer_prepends_bos tokenizer_appends_eos seed n_devices n_params init_weights
    initializer_range from_checkpoint checkpoint_index checkpoint_value trust_remote_code use_cache output_attentions
    output_hidden_states return_dict
    """.split()
)

_TOKENS = 4096  # how many tokens are compared where the vocabulary cannot be listed

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def identity_of(model: ModelAdapter) -> dict[str, Any]:
    """What a model is, as files have it: its name, dtype, weights, settings and tokenizer."""
    anatomy = model.anatomy
    return {
        "name": anatomy.name,
        "dtype": str(anatomy.unembedding.W_U.dtype).removeprefix("torch."),
        "weights": fingerprint(model),
        "settings": settings_of(model),
        "tokenizer": tokenizer_fingerprint(model),
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What tells one model from another, in words; nothing where they are the same."""
    if any(old[key] != new[key] for key in ("weights", "dtype")):
        yield f"the model's weights differ ({_told(old)} there, {_told(new)} here)"
    for place in sorted({*old["settings"]} | {*new["settings"]}):
        there, here = (each["settings"].get(place, "nothing") for each in (old, new))
        # other versions of transformers have other fields in the configuration
        if there != here and not (place.startswith(("cfg.", "config.")) and "nothing" in (there, here)):
            yield f"the model's {place} is {there} there and {here} here"
            break
    if old["tokenizer"] != new["tokenizer"]:
        yield "the model's tokenizer differs, or whether it puts a BOS token first"


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
    """Each norm's ε and activation function, by the path of the module, and the numbers of the configuration.

    They are settings that no weight shows. Empty for adapters of other models than TransformerLens'.
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
    wrapped = getattr(getattr(source, "original_model", None), "config", None)
    cfg = getattr(source, "cfg", None)
    told = {"cfg": {} if cfg is None else vars(cfg), "config": {} if wrapped is None else wrapped.to_dict()}
    return {**found, **{f"{where}.{name}": text for where in told for name, text in _numbers_in(told[where])}}


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


def _numbers_in(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The numbers and switches of a configuration, and the lists and tables of them; texts are names and places."""
    for name, value in fields.items():
        if name not in _NOT_COMPUTING and isinstance(value, int | float | list | tuple | dict):
            with suppress(TypeError):  # what JSON cannot hold is no number
                yield name, json.dumps(value, sort_keys=True)


def _name(function: Any) -> str:
    return type(function).__name__ if isinstance(function, nn.Module) else getattr(function, "__name__", "a function")


def _told(model: Mapping[str, Any]) -> str:
    return f"{model['name']}, {model['dtype']}, {model['weights'][:8]}"


def checksums(tensor: Shaped[Tensor, "..."]) -> list[int]:
    """A number for each piece of a tensor: `Σ bits[i] * odd[i]` modulo 2^64, with another odd number at each `i`."""
    # Whole numbers only, since a float sum depends on the order in which a device adds. An odd factor loses no bit.
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    flat = real.detach().reshape(-1).contiguous()
    bits = flat.to(torch.uint8) if flat.dtype == torch.bool else flat.view(_INTEGERS[flat.element_size()])
    places = 2 * torch.arange(min(_CHUNK, len(bits)), device=bits.device) + 0x9E3779B97F4A7C1
    sums = [(piece.long() * places[: len(piece)]).sum() for piece in bits.split(_CHUNK)]
    return torch.stack(sums).tolist() if len(bits) else []
