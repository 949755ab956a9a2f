"""What the features of a dictionary read, recognised: the rows of its encoder.

A feature that is there is a linear function of what the dictionary reads: a ReLU, a threshold or a choice of the k
largest only says whether it is there. A hypothesis about the weights holds when it gives every feature that is there.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.writes.dictionaries.base import Dictionary
from dla.writes.dictionaries.encoding import encode_features, name_of_dictionary
from dla.writes.routes import centre

_ROUNDINGS = 64.0
"""Rounding units, of the product of the norms of what is multiplied, that a feature may be off by."""

_LN_EPS = 1e-5  # that of SAELens, which adds it to the standard deviation


@final
@dataclass(frozen=True, eq=False)
class Encoder:
    """`factor * (C(x) / scale @ weight + bias)` is each feature that is there, as a row of `W_dec` is multiplied by it.

    Attributes:
        weight: The rows of the encoder, as columns.
        bias: What is added.
        centred: Whether `C` subtracts the mean, or is the identity.
        scale: What the dictionary divides its input by, taken as it was in the run.
        factor: 0 where a feature is not there.
        size: How large the numbers are that cancel in each feature.
    """

    weight: Float[Tensor, "d_in feature"]
    bias: Float[Tensor, " feature"]
    centred: bool
    scale: Float[Tensor, "batch pos 1"]
    factor: Float[Tensor, "batch pos feature"]
    size: Float[Tensor, "batch pos feature"]

    def pull_back(self, direction: Float[Tensor, "batch pos feature"]) -> Float[Tensor, "batch pos d_in"]:
        """A direction on the features, as one on what the dictionary reads."""
        on_input = (direction * self.factor) @ self.weight.to(direction).T / self.scale
        return centre(on_input) if self.centred else on_input

    def constant(self, direction: Float[Tensor, "batch pos feature"]) -> Float[Tensor, "batch pos"]:
        """What the direction reads of biases."""
        return (direction * self.factor) @ self.bias.to(direction)


@torch.no_grad()
def encoder_of(dictionary: Dictionary, x: Float[Tensor, "batch pos *d_in"]) -> Encoder | None:
    """The encoder of a dictionary, as it was for some activations; None if it is not known.

    Args:
        dictionary: The dictionary.
        x: What it read.
    """
    source = dictionary.source
    raw = encode_features(source, x.to(dictionary.W_dec), name_of_dictionary(source, dictionary.writes)).to(x)
    flat, there = x.flatten(2), raw != 0
    eps = torch.finfo(dictionary.W_dec.dtype).eps
    unit = _ROUNDINGS * max(eps, torch.finfo(x.dtype).eps)
    for (centred, scale), (weight, bias, shift) in itertools.product(_norms(flat), _weights(source, flat)):
        entered = (centre(flat) if centred else flat) / scale
        added = bias - shift @ weight
        pre = entered @ weight + added
        size = (entered.norm(dim=-1, keepdim=True) + shift.norm()) * weight.norm(dim=0) + bias.abs()
        for factor in _factors(dictionary, pre):
            if bool(((raw - pre * factor).abs() <= unit * size * factor)[there].all()):
                features = dictionary.explain(x)[0]
                # What is multiplied by a row of `W_dec`, for each unit of what `encode` gave.
                rates = torch.where(there, features / torch.where(there, raw, 1.0), 0.0)
                return Encoder(weight, added, centred, scale, rates * factor, size * eps / torch.finfo(x.dtype).eps)
    return None


def _norms(x: Float[Tensor, "batch pos d_in"]) -> Iterator[tuple[bool, Float[Tensor, "batch pos 1"]]]:
    """How a dictionary may normalise its input: not at all, by its deviation, by its length."""
    yield False, torch.ones_like(x[..., :1])
    yield True, x.std(-1, keepdim=True) + _LN_EPS
    yield False, x.norm(dim=-1, keepdim=True) / x.shape[-1] ** 0.5


def _weights(
    source: object, x: Float[Tensor, "batch pos d_in"]
) -> Iterator[tuple[Float[Tensor, "d_in feature"], Float[Tensor, " feature"], Float[Tensor, " d_in"]]]:
    """Weight, bias, and what is subtracted from the input before, under the names that dictionaries give them."""
    count, width = len(source.W_dec), x.shape[-1]  # type: ignore[attr-defined]
    linear = getattr(source, "encoder", None)
    matrices = [getattr(source, "W_enc", None), getattr(linear, "weight", None)]
    held = [each.detach().to(x) for each in matrices if isinstance(each, Tensor)]
    turned = [each for W in held for each in (W, W.mT) if each.shape == (width, count)]
    zero = x.new_zeros(count)
    biases = [*_vectors(source, x, count, "b_enc", "bias"), *_vectors(linear, x, count, "bias"), zero]
    shifts = [x.new_zeros(width), *_vectors(source, x, width, "b_dec", "pre_bias", "bias")]
    for W, shift in itertools.product(turned, shifts):
        yield from ((W, bias, shift) for bias in biases)
        for r_mag, b_mag in itertools.product(_vectors(source, x, count, "r_mag"), _vectors(source, x, count, "b_mag")):
            yield W * r_mag.exp(), b_mag, shift


def _vectors(
    source: object, x: Float[Tensor, "batch pos d_in"], count: int, *names: str
) -> Iterator[Float[Tensor, " {count}"]]:
    for name in names:
        value = getattr(source, name, None)
        if isinstance(value, Tensor) and value.shape == (count,):
            yield value.detach().to(x)


def _factors(dictionary: Dictionary, pre: Float[Tensor, "batch pos feature"]) -> Iterator[Float[Tensor, " feature"]]:
    """What `encode` may multiply features by: nothing, or the norms that `decode` divides by."""
    yield pre.new_ones(pre.shape[-1])
    if dictionary.rates is not None:
        yield 1 / dictionary.rates.to(pre)
