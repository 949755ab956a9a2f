"""Autoencoders whose features are not what they are taken for."""

import torch
from torch import Tensor


class Autoencoder:
    """A right one, of 48 features."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.W_enc = torch.randn(32, 48, generator=generator) / 32**0.5
        self.W_dec = torch.randn(48, 32, generator=generator) / 48**0.5
        self.b_dec = torch.randn(32, generator=generator)

    def encode(self, x: Tensor) -> Tensor:
        return ((x - self.b_dec) @ self.W_enc).relu()

    def decode(self, features: Tensor) -> Tensor:
        return features @ self.W_dec + self.b_dec


class SubtractsInPlace(Autoencoder):
    """Subtracts `b_dec` from the model's own activation."""

    def encode(self, x: Tensor) -> Tensor:
        x -= self.b_dec
        return (x @ self.W_enc).relu()


class DividesZeroByZero(Autoencoder):
    """Divides the activation by its norm, which may be 0."""

    def encode(self, x: Tensor) -> Tensor:
        return (x / x.norm(dim=-1, keepdim=True) @ self.W_enc).relu()


class CapsTheFeatures(Autoencoder):
    """Decodes features up to 3; a larger one counts as 3."""

    def decode(self, features: Tensor) -> Tensor:
        return features.clamp(max=3.0) @ self.W_dec + self.b_dec


class FixesItsScale(Autoencoder):
    """Divides by the largest activation of the first call."""

    largest: Tensor | None = None

    def encode(self, x: Tensor) -> Tensor:
        self.largest = x.abs().max() if self.largest is None else self.largest
        return (x / self.largest @ self.W_enc).relu()
