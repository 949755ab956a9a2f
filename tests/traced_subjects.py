"""What the tests of traces share: models, rules and one attribution of each."""

from functools import cache
from typing import Any

import pytest
import torch

import dla
from dla.testing import TinyModel
from tests.subjects import some_tokens

DOUBLE = {name: TinyModel(name, dtype=torch.float64) for name in ("gpt2", "llama")}
ASKED = dla.LogitDifference(5, 6)
# Hugging Face computes RMSNorm in float32.
ALLOWED = {"gpt2": 1e-12, "llama": 2e-6}

RULES = {
    "gpt2": [(None, 1.0)],
    "llama": [(dla.FrozenGate(), 1.0), (dla.FrozenUp(), 0.0), (dla.Mixed(0.3), 0.3)],
}
EACH_RULE = [pytest.param(name, *rule, id=f"{name}-{rule[0]}") for name in RULES for rule in RULES[name]]


def rule_of(subject: TinyModel) -> Any:
    """A rule that fits the model's MLPs, or None."""
    reads = [each for block in dla.adapt(subject.model()).reads for each in block]
    return dla.FrozenGate() if any(getattr(each, "up", None) is not None for each in reads) else None


@cache
def attributed(name: str, decomposer: dla.Decomposer) -> dla.Attribution:
    return dla.Attributor(DOUBLE[name].model(), decomposer).attribute(some_tokens(1), ASKED)


@cache
def together(subject: TinyModel) -> dla.Attribution:
    """Heads of a model on two prompts of seven tokens."""
    return dla.Attributor(subject.model(), dla.HeadDecomposer()).attribute(some_tokens(4, 2, 7), ASKED)
