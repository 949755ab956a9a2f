"""Ablations that give what cannot stand in the place of a part, or depend on something else than they are given."""

import torch

import dla


class TakesAnotherWidth(dla.Ablation):
    """A vector that is as wide as another model's stream."""

    def replace(self, own: dla.Written, other: dla.Written | None) -> torch.Tensor:
        return torch.zeros(1, 1, 999)


class DrawsNoise(dla.Ablation):
    """Noise that is another each time."""

    def replace(self, own: dla.Written, other: dla.Written | None) -> torch.Tensor:
        return torch.rand_like(own.values)


class AveragesPadding(dla.Ablation):
    """The mean over all prompts and positions, padding among them."""

    def replace(self, own: dla.Written, other: dla.Written | None) -> torch.Tensor:
        return own.values.mean((0, 1), keepdim=True)


class ZeroesInPlace(dla.Ablation):
    """Sets what it is given to zero, which is the model's own activation."""

    def replace(self, own: dla.Written, other: dla.Written | None) -> torch.Tensor:
        return own.values.zero_()


class KeepsTheFirstMean(dla.Ablation):
    """Computes its mean once, and gives it in every later run."""

    def __init__(self) -> None:
        self.kept: dict[int, torch.Tensor] = {}

    def replace(self, own: dla.Written, other: dla.Written | None) -> torch.Tensor:
        mean = own.values[own.real].mean(0)[None, None]
        return self.kept.setdefault(own.values.shape[-1], mean)
