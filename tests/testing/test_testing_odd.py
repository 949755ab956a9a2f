"""Every argument of the kit and of the demo is tried with every odd value."""

import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from odd_values import ODD, badly_answered
from subjects import GPT2, some_tokens

import dla
import dla.demo
from dla.testing import (
    TinyModel,
    assert_attributions_equal,
    assert_reconstructs,
    assert_refines,
    check_decomposer,
    check_direction,
    parametrize_with_checks,
    strategies,
)
from dla.testing.assertions import assert_close
from dla.testing.models import architecture, hooked_architecture

LOGIT, BLOCKS, ONES = dla.Logit(9), dla.BlockDecomposer(), torch.ones(2)
RESULT = dla.Attributor(GPT2.model(), BLOCKS).attribute(some_tokens(14), LOGIT)
COMPATIBLE = TinyModel("gpt2", processed=True).model()


def one_call(**options: Any) -> Any:
    return dla.direct_logit_attribution(COMPATIBLE, **{"input": some_tokens(14), "answer_tokens": 9, **options})


def passes_over(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """An assertion that fails says what it was made to say."""

    def call(value: Any) -> None:
        with suppress(AssertionError):
            check(value)

    return call


ASKED: dict[str, Callable[[Any], Any]] = {
    "check_decomposer: models": lambda v: check_decomposer(BLOCKS, models=v) if v is not None else None,
    "check_decomposer: profile": lambda v: check_decomposer(BLOCKS, profile=v, models=[]),
    "check_decomposer: seed": lambda v: check_decomposer(BLOCKS, models=[], seed=v),
    "check_direction": lambda v: check_direction(v, models=[]),
    "check_direction: means": lambda v: check_direction(LOGIT, v, models=[]),
    "check_direction: models": lambda v: check_direction(LOGIT, models=v) if v is not None else None,
    "check_direction: tokens": lambda v: check_direction(LOGIT, tokens=v, models=[GPT2]) if v is not None else None,
    "parametrize_with_checks": lambda v: parametrize_with_checks(v),
    "parametrize_with_checks: models": lambda v: parametrize_with_checks([BLOCKS], models=v),
    "assert_close": passes_over(lambda v: assert_close(v, ONES, 1.0, 1e-6)),
    "assert_close: expected": passes_over(lambda v: assert_close(ONES, v, 1.0, 1e-6)),
    "assert_close: eps": passes_over(lambda v: assert_close(ONES, ONES, 1.0, v)),
    "assert_reconstructs": passes_over(lambda v: assert_reconstructs(v)),
    "assert_reconstructs: own": passes_over(lambda v: assert_reconstructs(RESULT, v)),
    "assert_reconstructs: eps": passes_over(lambda v: assert_reconstructs(RESULT, eps=v)),
    "assert_refines": passes_over(lambda v: assert_refines(v, RESULT)),
    "assert_refines: parent": passes_over(lambda v: assert_refines(RESULT, v)),
    "assert_attributions_equal": passes_over(lambda v: assert_attributions_equal(RESULT, v)),
    "assert_attributions_equal: factor": passes_over(lambda v: assert_attributions_equal(RESULT, RESULT, factor=v)),
    "TinyModel": lambda v: TinyModel(v).entry(),
    "TinyModel: family": lambda v: TinyModel("gpt2", v),
    "TinyModel: processed": lambda v: TinyModel("gpt2", processed=v),
    "TinyModel: dtype": lambda v: TinyModel("gpt2", dtype=v),
    "TinyModel: n_layers": lambda v: TinyModel("gpt2", n_layers=v),
    "TinyModel: seed": lambda v: TinyModel("gpt2", seed=v),
    "architecture": architecture,
    "hooked_architecture": hooked_architecture,
    "families": lambda v: strategies.model_configs(families=v),
    "max_layers": lambda v: strategies.model_configs(max_layers=v),
    "dtypes": lambda v: strategies.model_configs(dtypes=v),
    "models of a strategy": lambda v: strategies.models(v),
    "prompts of a strategy": lambda v: strategies.prompts(v),
    "max_batch": lambda v: strategies.prompts(GPT2.model(), max_batch=v),
    "positions": lambda v: strategies.positions(v),
    "decomposers": lambda v: strategies.decomposers(v),
    "load_small": lambda v: dla.demo.load_small(v),
    "load_folder": lambda v: dla.demo.load_folder(v),
    "load_folder: dtype": lambda v: dla.demo.load_folder("nowhere", dtype=v),
    "giving_prompts": lambda v: dla.demo.giving_prompts(v),
    "one call: model": lambda v: one_call(answer_tokens=9) and dla.direct_logit_attribution(v, [[5]], 9),
    "one call: answer_tokens": lambda v: one_call(answer_tokens=v),
    "one call: incorrect_tokens": lambda v: one_call(incorrect_tokens=v),
    "one call: unit": lambda v: one_call(unit=v),
    "one call: pos": lambda v: one_call(pos=v),
}


@pytest.mark.parametrize("argument", ASKED)
def test_an_odd_value_is_taken_or_told(argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert badly_answered(ASKED[argument]) == {}


def test_models_of_a_generator_are_not_lost_after_the_first_law() -> None:
    with pytest.raises(TypeError, match=r"models=<generator .*> is not a list\. Pass models, adapters or names"):
        inspect.unwrap(check_decomposer)(BLOCKS, models=(name for name in ["gpt2"]))


@pytest.mark.parametrize("argument", ["check_direction", "assert_refines", "one call: unit", "families"])
@pytest.mark.filterwarnings("ignore")  # some odd values warn of themselves
def test_where_nothing_odd_can_be_meant_nothing_is_taken(argument: str) -> None:
    meant = {"families": ("nothing",)}
    for name, make in ODD.items():
        if name not in meant.get(argument, ()):
            with pytest.raises((TypeError, ValueError)):
                ASKED[argument](make())
