"""Every decomposer, direction and adapter of the library keeps the laws that users' own are held to."""

from typing import Any

import pytest
import torch
from subjects import DECOMPOSERS, LINE
from torch import Tensor

import dla
from dla.testing import Profile, check_adapter, check_direction, parametrize_with_checks
from dla.testing.models import architecture, hooked_architecture

SHIPPED = (
    *DECOMPOSERS,
    dla.NeuronDecomposer(top_k=3),
    dla.SourceDecomposer(layers=[0]) | dla.NeuronDecomposer(layers=[1], top_k=2),
)
pytestmark = pytest.mark.spine


@parametrize_with_checks(SHIPPED, profile=Profile.QUICK)
def test_decomposers(subject: dla.Decomposer, check: Any) -> None:
    check(subject)


ADAPTED = (
    *(architecture(name).bridge(mode) for name in ("gpt2", "llama") for mode in ("raw", "compatibility")),
    *(
        (hooked_architecture(name).model(processed=p) for name in ("ln", "rms") for p in (False, True))
        if LINE < 4
        else ()
    ),
)


@pytest.mark.parametrize("model", ADAPTED, ids=lambda model: type(model).__name__)
def test_adapters(model: Any) -> None:
    report = check_adapter(model)
    assert report.ok, str(report)


PICKED = torch.tensor([[5, 9, 20, 7, 12, 3], [30, 6, 8, 11, 9, 41]])
VECTOR = torch.randn(32, generator=torch.Generator().manual_seed(0))


def one_each(logits: Tensor, ids: Tensor) -> Tensor:
    return logits.gather(-1, ids.expand(logits.shape[:2])[..., None]).squeeze(-1)


def log_probability(logits: Tensor) -> Tensor:
    return logits[..., 9] - (logits.softmax(-1) * logits).sum(-1)


DIRECTIONS: dict[str, tuple[dla.Direction, Any]] = {
    "Logit": (dla.Logit(9), lambda logits: logits[..., 9]),
    "Logit of each position": (dla.Logit(PICKED), lambda logits: one_each(logits, PICKED)),
    "Logit of each prompt": (dla.Logit(PICKED[:, 0]), lambda logits: one_each(logits, PICKED[:, :1])),
    "LogitDifference": (dla.LogitDifference(9, 14), lambda logits: logits[..., 9] - logits[..., 14]),
    "LogitSet": (dla.LogitSet([9, 14, 3]), lambda logits: logits[..., [9, 14, 3]].mean(-1)),
    "weighted LogitSet": (
        dla.LogitSet([9, 14], weights=[2.0, -0.5]),
        lambda logits: 2 * logits[..., 9] - 0.5 * logits[..., 14],
    ),
    "CentredLogit": (dla.CentredLogit(9), lambda logits: logits[..., 9] - logits.mean(-1)),
    "LogProbability": (dla.LogProbability(9), log_probability),
    "ResidualVector": (dla.ResidualVector(VECTOR), None),
    "mean": (dla.mean([dla.Logit(9), dla.Logit(14)]), lambda logits: logits[..., [9, 14]].mean(-1)),
    "combination": (2.0 * dla.Logit(9) - dla.Logit(14), lambda logits: 2 * logits[..., 9] - logits[..., 14]),
}


@pytest.mark.parametrize("name", DIRECTIONS)
def test_directions(name: str) -> None:
    direction, means = DIRECTIONS[name]
    check_direction(direction, means).raise_for_failure()
