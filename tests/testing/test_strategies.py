"""The public strategies: what they draw is right, they shrink to the smallest, they say what cannot be drawn."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from subjects import needs_hooked_transformer

import dla
from dla.testing import assert_reconstructs
from dla.testing import strategies as dst
from dla.testing.models.drawn import HOOKED_FAMILY, ModelConfig, Sizes

SMALL = ModelConfig("llama", Sizes(1, 2, 1, 4, 3))
SHRINKING = settings(
    max_examples=300,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def smallest(strategy: st.SearchStrategy[Any], that: Any) -> Any:
    return find(strategy, that, settings=SHRINKING)


@given(data=st.data(), config=dst.model_configs())
def test_what_is_drawn_can_be_attributed(data: st.DataObject, config: ModelConfig) -> None:
    model = data.draw(dst.models(st.just(config)))
    tokens = data.draw(dst.prompts(model))
    decomposer, direction = data.draw(dst.decomposers()), data.draw(dst.directions(model))
    attributor = dla.Attributor(model, decomposer)
    result = attributor.attribute(tokens, direction, pos=data.draw(dst.positions(tokens.shape[1])))
    assert_reconstructs(result, eps=1e-5 if result.provenance.row_kind == "lens" else None)


def test_models_shrink_to_one_block_one_head_and_no_switches() -> None:
    assert smallest(dst.model_configs(), lambda _: True) == ModelConfig("gpt2", Sizes(1, 1, 1, 4, 1))
    grouped = smallest(dst.model_configs(), lambda config: config.sizes.heads > config.sizes.groups)
    assert grouped == ModelConfig("gpt2", Sizes(1, 2, 1, 4, 1))
    deep = smallest(dst.model_configs(), lambda config: config.sizes.layers > 1 and config.processed)
    assert deep == ModelConfig("gpt2", Sizes(2, 1, 1, 4, 1), processed=True)


@needs_hooked_transformer
def test_hooked_transformers_shrink_to_layer_norm() -> None:
    found = smallest(dst.model_configs(families=[HOOKED_FAMILY]), lambda _: True)
    assert found == ModelConfig(HOOKED_FAMILY, Sizes(1, 1, 1, 4, 1), switches={"normalization_type": "LN"})


def test_prompts_shrink_to_one_word() -> None:
    model = SMALL.model()
    assert smallest(dst.prompts(model), lambda _: True).tolist() == [[4]]
    assert smallest(dst.prompts(model), lambda tokens: tokens.shape[1] > 2).tolist() == [[4, 4, 4]]
    assert smallest(dst.prompts(model), lambda tokens: len(tokens) > 1).tolist() == [[4], [4]]


def test_directions_and_positions_and_decomposers_shrink_to_the_plainest() -> None:
    found = smallest(dst.directions(SMALL.model()), lambda _: True)
    assert isinstance(found, dla.Logit)
    assert found.token == 0
    assert smallest(dst.positions(3), lambda _: True) == -1
    assert smallest(dst.positions(3), lambda pos: isinstance(pos, list)) == [0]
    assert smallest(dst.decomposers(), lambda _: True) == dla.ComponentDecomposer()
    assert smallest(dst.decomposers(dla.RowKind.LENS), lambda _: True) == dla.LensDecomposer()


@given(st.data())
def test_a_strategy_of_one_law_draws_no_other(data: st.DataObject) -> None:
    law = data.draw(st.sampled_from(dla.RowKind))
    assert data.draw(dst.decomposers(law)).row_kind is law


def test_prompts_hold_no_special_token() -> None:
    found: list[int] = []

    @settings(max_examples=30, database=None)
    @given(dst.prompts(SMALL.model(), max_batch=2, max_width=4))
    def draw(tokens: torch.Tensor) -> None:
        assert tokens.shape[0] <= 2
        assert tokens.shape[1] <= 4
        found.extend(tokens.flatten().tolist())

    draw()
    assert min(found) >= 4


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda: dst.model_configs(families=["gpt7"]),
            r"There is no family 'gpt7' with TransformerLens \d\. Pass some",
        ),
        (lambda: dst.model_configs(families=[]), "nothing to draw from: name at least one family and one dtype"),
        (lambda: dst.model_configs(dtypes=[]), "nothing to draw from"),
        (lambda: dst.model_configs(max_layers=0), "max_layers=0: ask for at least one block"),
        (lambda: dst.prompts(SMALL.model(), max_width=0), "max_width=0: ask for at least one token"),
        (lambda: dst.positions(0), "width=0: ask for at least one token"),
        (lambda: ModelConfig("gpt7"), r"There is no family 'gpt7'\. Pass one of \['gpt2', 'gptj'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()
