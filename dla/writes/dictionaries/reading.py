"""Reading a dictionary: whether an object is one, where it belongs, and how its `decode` uses the features."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dla.errors import UnsupportedModelError
from dla.inputs.given import plain_tensor, shown
from dla.writes.dictionaries.base import Dictionary, scale_between
from dla.writes.dictionaries.encoding import encode_features, encoded_each, name_of_dictionary

_DECODE = (
    "It must take the features, [batch, pos, feature], and give their reconstruction; or top_acts and top_indices."
)

# The sizes of the inputs that `encode` is tried on; activations of real models differ as much, and more.
_SIZES = (0.1, 1.0, 10.0)


def read_dictionary(source: Any, at: str | tuple[str, str] | None) -> Dictionary:
    """A dictionary and its places in the model.

    Args:
        source: An object with `encode`, `W_dec` `[feature d_out]` and `b_dec` `[d_out]`, such as one of SAELens.
        at: The hook name of the activation that it explains; for a transcoder `(reads, writes)`; None takes it from
            the object: its `site`, or the metadata that SAELens keeps.

    Raises:
        TypeError: If the object lacks something.
        ValueError: If it does not say where it belongs, or belongs to a single head; if `W_dec` and `b_dec` have
            other shapes, or `encode` cannot take activations.
        UnsupportedModelError: If its `decode` is not linear in the features, or a position's features depend on the
            others or on chance, or its `encode` changes what it is given.
    """
    if isinstance(source, type):
        raise TypeError(f"{shown(source)} is not a dictionary. Pass an instance.")
    missing = [name for name in ("encode", "W_dec", "b_dec") if not hasattr(source, name)]
    if missing:
        raise TypeError(
            f"{type(source).__name__} has no `{missing[0]}`. A dictionary is an object with `encode`, `W_dec` and "
            "`b_dec`, such as an SAE or Transcoder of SAELens."
        )
    reads, writes = _places(source, at)
    _check_shapes(source, name_of_dictionary(source, writes))
    by_head = bool(getattr(source, "hook_z_reshaping_mode", False))
    with torch.no_grad():
        inputs = list(random_inputs(source, reads == writes, by_head))
        for x in inputs:
            _check_hands_off(source, x, name_of_dictionary(source, writes))
            encoded_each(source, x, name_of_dictionary(source, writes))
        plain, rates = _decoding(source, inputs)
    return Dictionary(source, reads, writes, by_head, plain, rates)


def _check_hands_off(source: Any, x: Float[Tensor, "batch pos *d_in"], name: str) -> None:
    given = x[:1, :1].clone()
    encode_features(source, given, name)
    if not torch.equal(given, x[:1, :1]):
        raise UnsupportedModelError(
            f"{name}.encode changes the activations that it is given, which are the model's own. Let it compute new "
            "ones: `x - b`, not `x -= b`."
        )


def _check_shapes(source: Any, name: str) -> None:
    shapes = [_shape_of(weight) for weight in (source.W_dec, source.b_dec)]
    matrix = isinstance(shapes[0], list) and len(shapes[0]) == 2
    if matrix and shapes[1] == shapes[0][1:]:
        _check_numbers({"W_dec": source.W_dec, "b_dec": source.b_dec}, name)
        _check_skip(getattr(source, "W_skip", None), source.W_dec.shape[1], name)
        return
    likely = " It looks transposed: pass W_dec.T." if matrix and shapes[1] == shapes[0][:1] else ""
    raise ValueError(
        f"{name} has W_dec of shape {shapes[0]} and b_dec of shape {shapes[1]}. W_dec must be a tensor "
        f"[feature, d_out], a row for each feature, and b_dec a tensor [d_out].{likely}"
    )


def _shape_of(weight: object) -> list[int] | str:
    return list(weight.shape) if isinstance(weight, Tensor) and not weight.is_nested else shown(weight)


def _check_numbers(weights: Mapping[str, Tensor], name: str) -> None:
    for which, weight in weights.items():
        plain = plain_tensor(weight)
        if plain is None or not plain.is_floating_point() or weight.layout != torch.strided or weight.is_quantized:
            raise TypeError(f"{name} has as {which} {shown(weight)}. Pass a dense tensor of floating point numbers.")
        if not bool(plain.isfinite().all()):
            raise ValueError(f"{name} has infinite or NaN numbers in {which}. Load the dictionary again.")


def _check_skip(W_skip: object, d_out: int, name: str) -> None:
    if W_skip is None:
        return
    if not isinstance(W_skip, Tensor) or W_skip.is_nested or W_skip.ndim != 2 or W_skip.shape[0] != d_out:
        raise ValueError(
            f"{name} has as W_skip {shown(W_skip)}. It must be a tensor [d_out, d_in]; leave it out if none."
        )
    _check_numbers({"W_skip": W_skip}, name)


def _places(source: Any, at: str | tuple[str, str] | None) -> tuple[str, str]:
    metadata = getattr(getattr(source, "cfg", None), "metadata", None)
    head = getattr(metadata, "hook_head_index", None)
    if head is not None:
        raise ValueError(
            f"The dictionary explains one head (hook_head_index={head}) of a hook that shows all. "
            "Pass one that explains the whole activation."
        )
    if at is None:
        at = getattr(source, "site", None)
    if at is None:
        into, out = (getattr(metadata, name, None) for name in ("hook_name", "hook_name_out"))
        at = (into, out) if into is not None and out is not None else into
    if at is None:
        raise ValueError(
            f"{type(source).__name__} does not say where it belongs. Pass a dict from the name of the hook that it "
            "explains to the dictionary, {name: sae}; for a transcoder {(name it reads, name it explains): transcoder}."
        )
    pair = (at, at) if isinstance(at, str) else at
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(place, str) for place in pair):
        raise TypeError(
            f"The place of a {type(source).__name__} is {shown(at)}. Pass the name of the hook that it explains; for a "
            "transcoder two, (name it reads, name it explains)."
        )
    return str(pair[0]), str(pair[1])


def random_inputs(source: Any, autoencodes: bool, by_head: bool) -> Iterator[Float[Tensor, "batch pos *d_in"]]:
    """Random inputs, the same every time: two prompts whose positions differ a hundredfold in size."""
    width = source.W_dec.shape[1] if autoencodes else _width_of_input(source)
    if width is None:
        return
    generator = torch.Generator().manual_seed(int(width))
    for size in _SIZES:
        x = torch.randn(2, 2, width, generator=generator) * size * torch.tensor([[0.1, 1.0], [10.0, 1.0]]).unsqueeze(-1)
        yield (x.unsqueeze(2) if by_head else x).to(source.W_dec)


def _width_of_input(source: Any) -> int | None:
    """How wide a transcoder's input is; None if it does not say so."""
    d_in = getattr(getattr(source, "cfg", None), "d_in", None)
    W_enc = getattr(source, "W_enc", None)
    if d_in is None and isinstance(W_enc, Tensor) and W_enc.ndim == 2 and len(source.W_dec) in W_enc.shape:
        return W_enc.numel() // len(source.W_dec)
    return d_in


def _decoding(
    source: Any, inputs: list[Float[Tensor, "batch pos *d_in"]]
) -> tuple[bool, Float[Tensor, " feature"] | None]:
    """Whether `decode` has scale 1 and offset `b_dec`, and its factor for each feature; tried on all features at once.

    Raises:
        UnsupportedModelError: If it is not linear in the features, up to a scale for each position.
    """
    if not hasattr(source, "decode") or takes_indices(source):
        return True, None
    W_dec, b_dec = source.W_dec.detach().double(), source.b_dec.detach().double()
    features = torch.rand(2, 2, len(W_dec), generator=torch.Generator().manual_seed(len(W_dec))).to(source.W_dec)
    for x in inputs[1:2]:
        source.encode(x)  # a normalising dictionary keeps its scale from here
    decoded = _decoded(source, torch.stack([features, torch.zeros_like(features)]))
    if decoded.numel() == 2 * features[..., 0].numel() * W_dec.shape[1]:
        whole, offset = decoded.reshape(2, 2, 2, -1).double()
        for rates in (None, 1 / W_dec.norm(dim=-1)):
            direct = (features.double() if rates is None else features.double() * rates) @ W_dec
            scale = scale_between(direct, whole - offset)
            if _close(scale * direct, whole - offset, source):
                unscaled = _close(scale, torch.ones_like(scale), source)
                return unscaled and _close(offset, b_dec.expand_as(offset), source), rates
    raise UnsupportedModelError(
        f"{type(source).__name__}.decode is not `features @ W_dec + b_dec`, so its features cannot be separated."
    )


def _decoded(source: Any, features: Float[Tensor, "two batch pos feature"]) -> Tensor:
    try:
        given = source.decode(features)
        told = f"gave {shown(given)}"
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        given, told = None, f"raised {type(error).__name__} ({shown(str(error))})"
    if not isinstance(given, Tensor) or given.is_nested:
        raise TypeError(f"{type(source).__name__}.decode {told} for features {list(features.shape)}. {_DECODE}")
    return given


def takes_indices(source: Any) -> bool:
    """Whether `decode` takes the active features and their indices, as sparsify's does, and not all features.

    Raises:
        TypeError: If it needs other arguments besides the features.
    """
    try:
        parameters = list(inspect.signature(source.decode).parameters.values())
    except (TypeError, ValueError):
        raise TypeError(f"{type(source).__name__}.decode is {shown(source.decode)}. {_DECODE}") from None
    needed = [
        p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if needed == ["top_acts", "top_indices"]:
        return True
    if len(needed) > 1:
        raise TypeError(f"{type(source).__name__}.decode takes {', '.join(needed)}. {_DECODE}")
    return False


def _close(actual: Float[Tensor, "..."], expected: Float[Tensor, "..."], source: Any) -> bool:
    # Loose: only another way of decoding must be found out, and dictionaries may be in half precision.
    slack = max(1e-3, 4 * torch.finfo(source.W_dec.dtype).eps)
    return bool((actual - expected).abs().max() <= slack * expected.abs().max() + 1e-5)
