"""Settings of the whole suite: Hypothesis profiles, one thread, seeds."""

import os

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

_SLOW_MODELS = [HealthCheck.too_slow, HealthCheck.data_too_large]

# "fast" draws the same examples on every machine and in every run, and shows a failing one as it was drawn.
# "thorough" looks for new ones and shrinks what fails, which takes minutes where an example builds a model:
# `make test ARGS=--hypothesis-profile=thorough`, or HYPOTHESIS_PROFILE=thorough in the environment.
settings.register_profile(
    "fast",
    max_examples=15,
    deadline=None,
    print_blob=True,
    derandomize=True,
    suppress_health_check=_SLOW_MODELS,
    phases=[Phase.explicit, Phase.generate],
)
settings.register_profile(
    "thorough", max_examples=300, deadline=None, print_blob=True, suppress_health_check=_SLOW_MODELS
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same state of PyTorch's global generator, in whatever order tests run."""
    torch.manual_seed(0)
