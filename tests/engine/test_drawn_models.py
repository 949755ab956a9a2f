"""Models of drawn shapes and switches, not those of any catalogue: their rows add up to their own logits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from subjects import LINE, STEPS_IN_FLOAT32, any_decomposer, needs_hooked_transformer, picked, some_ids, some_tokens

import dla
from dla.testing import assert_reconstructs
from dla.testing import strategies as dst
from dla.testing.models.drawn import FAMILIES, HOOKED_FAMILY

each_family = pytest.mark.parametrize(
    "family", [*FAMILIES, pytest.param(HOOKED_FAMILY, marks=needs_hooked_transformer)]
)


@each_family
@settings(max_examples=settings.default.max_examples // 2)
@given(
    data=st.data(), seed=st.integers(0, 2**16), decomposer=any_decomposer, width=st.integers(1, 9),
    batch=st.integers(1, 3),
)  # fmt: skip
def test_any_model_is_reconstructed(
    data: st.DataObject, family: str, seed: int, decomposer: dla.Decomposer, width: int, batch: int
) -> None:
    config = data.draw(dst.model_configs(families=[family], dtypes=[torch.float32, torch.float64]))
    tokens, answers = some_tokens(seed, batch, width), some_ids(seed, batch, width)
    with torch.no_grad():
        own = picked(config.reference()(tokens), answers)
    result = dla.Attributor(config.model(), decomposer).attribute(tokens, dla.Logit(answers), pos=None)
    rounds = family.startswith((*STEPS_IN_FLOAT32, "phi"))
    assert_reconstructs(result, own, eps=torch.finfo(torch.float32 if rounds else config.dtype).eps)


def test_this_line_of_transformer_lens_is_one_that_is_supported() -> None:
    assert LINE in (3, 4)
