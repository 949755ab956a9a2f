"""Dictionaries of our own: an encoder, a decoder, and nothing of any package."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

import dla
from dla.decomposers import Item


@final
class Random:
    """Some features, all weights drawn."""

    def __init__(self, d_in: int, seed: int, d_out: int | None = None, skip: bool = False) -> None:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64) / shape[0] ** 0.5

        d_out = d_out or d_in
        self.W_enc, self.W_dec, self.b_dec = draw(d_in, 11), draw(11, d_out), draw(d_out)
        if skip:
            self.W_skip = draw(d_out, d_in)

    def encode(self, x: Tensor) -> Tensor:
        return (x.to(self.W_enc) @ self.W_enc).relu()


@final
class Biased:
    """As `Random`, with a bias in its encoder, and its own subtracted from what it reads."""

    def __init__(self, d: int, seed: int, skip: bool = False) -> None:
        drawn = Random(d, seed, skip=skip)
        self.W_enc, self.W_dec, self.b_dec = drawn.W_enc, drawn.W_dec, drawn.b_dec
        self.b_enc = drawn.W_enc.sum(0)
        if skip:
            self.W_skip = drawn.W_skip

    def encode(self, x: Tensor) -> Tensor:
        return ((x.to(self.W_enc) - self.b_dec) @ self.W_enc + self.b_enc).relu()


@final
class Perfect:
    """Two features a coordinate, its positive and its negative part: reconstructs everything."""

    def __init__(self, d: int) -> None:
        self.W_dec, self.b_dec = torch.cat([torch.eye(d), -torch.eye(d)]), torch.zeros(d)

    def encode(self, x: Tensor) -> Tensor:
        return torch.cat([x, -x], -1).relu()


@final
class Silent:
    """Features that are never there."""

    def __init__(self, d: int) -> None:
        self.W_dec, self.b_dec = torch.ones(3, d), torch.zeros(d)

    def encode(self, x: Tensor) -> Tensor:
        return x.new_zeros(*x.shape[:-1], 3)


@final
@dataclass(frozen=True)
class RandomFeatures(dla.Decomposer):
    """`FeatureDecomposer` with a random dictionary at each place of the last block that it can explain."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[Item]:
        found: dict[str, Random] = {}
        for i, sublayer in enumerate(model.block(model.n_layers - 1).sublayers):
            if sublayer.heads is not None:
                found[sublayer.heads.z.name] = Random(sublayer.heads.W_O.flatten(0, 1).shape[0], i)
            elif sublayer.outputs:
                found[sublayer.outputs[-1][0].name] = Random(model.anatomy.unembedding.W_U.shape[0], i)
        return dla.FeatureDecomposer(found).writes(model) if found else dla.ComponentDecomposer().writes(model)
