"""`check_ablation` passes the library's own ablations, and finds what is wrong with others."""

from typing import Any

import pytest
import torch

import dla
from dla.testing import check_ablation


@pytest.mark.parametrize(
    "ablation", [dla.Zero(), dla.Mean("a"), dla.Fixed(0.5), dla.Add(1.0)], ids=lambda each: type(each).__name__
)
def test_the_librarys_own_pass(ablation: dla.Ablation) -> None:
    check_ablation(ablation).raise_for_failure()


class Wide(dla.Ablation):
    def replace(self, own: dla.Written, other: dla.Written | None) -> Any:
        return torch.zeros(1, 1, 999)


class Noise(dla.Ablation):
    def replace(self, own: dla.Written, other: dla.Written | None) -> Any:
        return torch.rand_like(own.values)


class MeanWithPadding(dla.Ablation):
    def replace(self, own: dla.Written, other: dla.Written | None) -> Any:
        return own.values.mean((0, 1), keepdim=True)


class Normalised(dla.Ablation):
    def replace(self, own: dla.Written, other: dla.Written | None) -> Any:
        return own.values / 0


class NeedsPromptsAndSaysNot(dla.Ablation):
    def replace(self, own: dla.Written, other: dla.Written | None) -> Any:
        return other.values  # type: ignore[union-attr]


class NoTensor(dla.Ablation):
    def replace(self, own: dla.Written, other: dla.Written | None) -> Any:
        return 0.0


WRONG = [
    *((Wide, "fits", r"one vector for all prompts"), (Noise, "repeatable", "it gives something else")),
    *((MeanWithPadding, "padding", "what stands in the padding"), (Normalised, "fits", "not finite")),
    *((NeedsPromptsAndSaysNot, "fits", "values"), (NoTensor, "fits", "gives a float")),
]


@pytest.mark.parametrize(("kind", "step", "words"), WRONG, ids=[kind.__name__ for kind, *_ in WRONG])
def test_a_wrong_one_is_found(kind: type[dla.Ablation], step: str, words: str) -> None:
    failure = check_ablation(kind()).first_failure()
    assert failure is not None
    assert failure.name == step
    assert words in failure.problem


def test_what_is_no_ablation_is_refused() -> None:
    with pytest.raises(TypeError, match=r"an instance, such as dla\.Zero\(\)"):
        check_ablation(dla.Zero)  # type: ignore[arg-type]
    assert check_ablation(dla.Fixed(torch.ones(7)), width=7).ok
    assert not check_ablation(dla.Fixed(torch.ones(7))).ok
