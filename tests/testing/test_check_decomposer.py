"""`check_decomposer`, `check_direction` and the tests made of them: what they report, of what, and what they refuse.

That each law finds what breaks it, and says why, is in test_mutants.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from mutants.altered import AlteredDecomposer, AlteredDirection, with_norm, without
from mutants.states import CentresTheWeights
from torch import Tensor

import dla
from dla.directions import ResolvedDirection
from dla.testing import (
    AlteredAdapter,
    Profile,
    TinyModel,
    check_adapter,
    check_decomposer,
    check_direction,
    parametrize_with_checks,
)
from dla.testing.check_decomposer import check_law
from dla.testing.laws import LAWS
from dla.testing.models import architecture

HEADS, COMPONENTS, LAYERS = dla.HeadDecomposer(), dla.ComponentDecomposer(), dla.LayerDecomposer()
WITHOUT_B_O = AlteredDecomposer(HEADS, without("b_O"))


def step_of(law: str, decomposer: dla.Decomposer, *models: Any) -> Any:
    """What one law says."""
    (step,) = check_law(next(each for each in LAWS if each.name == law), decomposer, models=models).steps
    return step


def test_a_model_that_was_written_to_is_built_anew() -> None:
    assert not step_of("hands off", CentresTheWeights(), "gpt2").ok
    assert step_of("reconstruction", HEADS, "gpt2").ok
    assert step_of("names", HEADS, "gpt2").ok


def test_a_right_decomposer_passes_and_the_report_says_on_how_many_models() -> None:
    report = check_decomposer(HEADS, profile=Profile.QUICK)
    assert report.ok
    assert report.first_failure() is None
    assert [step.name for step in report.steps] == [law.name for law in LAWS]
    assert all("models" in step.found for step in report.steps if step.name != "trajectory")
    text = str(report)
    assert "check_decomposer: HeadDecomposer" in text
    assert text.count("✓") == len(LAWS)
    report.raise_for_failure()


def test_a_wrong_one_raises_the_diagnosis_on_request() -> None:
    report = check_decomposer(AlteredDecomposer(COMPONENTS, without("pos_embed")), models=["gpt2"])
    failure = report.first_failure()
    assert failure is not None
    assert failure.name == "reconstruction"
    assert "✗" in str(report)
    assert "First wrong: reconstruction." in str(report)
    with pytest.raises(
        AssertionError, match=r"(?s)check_decomposer: AlteredDecomposer.*reconstruction: .*miss `pos_embed`"
    ):
        report.raise_for_failure()


def test_a_plan_that_cannot_run_ends_the_report() -> None:
    report = check_decomposer(AlteredDecomposer(COMPONENTS, lambda plan, _: [*plan, plan[-1]]), models=["gpt2"])
    assert [step.name for step in report.steps] == ["plan"]


def test_laws_of_sums_are_not_asked_of_a_trajectory() -> None:
    report = check_decomposer(LAYERS, models=["gpt2"])
    assert report.ok
    found = {step.name: step.found for step in report.steps}
    assert found["measured"] == found["refinement"] == "not asked of cumulative rows"


class OnlyExperts(dla.Decomposer):
    """Refuses models without experts."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        if not any(sublayer.experts for layer in range(model.n_layers) for sublayer in model.block(layer).sublayers):
            raise dla.UnsupportedModelError("There are no experts here.")
        return [write for write in dla.ExpertDecomposer().writes(model) if isinstance(write, dla.Write)]


def test_a_model_that_is_refused_is_passed_over_unless_it_was_the_last() -> None:
    assert check_decomposer(OnlyExperts(), models=["gpt2", "mixtral"]).steps[0].found == "1 models; refuses others"
    step = check_decomposer(OnlyExperts(), models=["gpt2"]).first_failure()
    assert step is not None
    assert "It applies to none of the 1 models. gpt2, a raw bridge: There are no experts here." in step.problem


def test_models_may_be_ones_own() -> None:
    bridge = architecture("gpt2").bridge()
    own = [bridge, dla.adapt(bridge), "llama", TinyModel("gpt2", n_layers=1)]
    for name in ("reconstruction", "cache", "folding", "precision"):
        assert step_of(name, HEADS, *own).ok
    step = step_of("reconstruction", WITHOUT_B_O, bridge)
    assert not step.ok
    assert "on your TransformerBridge, with a prompt of 1 token" in step.problem


def test_a_class_is_no_decomposer() -> None:
    with pytest.raises(
        TypeError,
        match=r"is not a Decomposer\. Pass an instance|Expected type: <class 'dla\.decomposers\.base\.Decomposer'>",
    ):
        check_decomposer(dla.HeadDecomposer)  # type: ignore[arg-type]  # the mistake


def test_one_test_a_law_and_subject() -> None:
    mark = parametrize_with_checks([HEADS, LAYERS, dla.Logit(9), architecture("gpt2").bridge()], models=["gpt2"])
    names, pairs = mark.kwargs["ids"], mark.args[1]
    assert mark.args[0] == ("subject", "check")
    assert names[0] == "HeadDecomposer-plan"
    assert "LayerDecomposer-reconstruction" in names
    assert "LayerDecomposer-measured" not in names
    assert names[-2:] == ["Logit-direction", "TransformerBridge-adapter"]
    for subject, check in (pairs[0], pairs[2], *pairs[-2:]):
        check(subject)
    with pytest.raises(ValueError, match="No subject was given. Pass at least one decomposer, adapter, model or dir"):
        parametrize_with_checks([])


def test_a_parametrized_test_fails_with_the_diagnosis() -> None:
    pairs = parametrize_with_checks([WITHOUT_B_O], models=["gpt2"]).args[1]
    check = next(check for _, check in pairs if str(check) == "reconstruction")
    with pytest.raises(AssertionError, match=r"(?s)reconstruction: .*The rows miss `b_O` of block 0"):
        check(WITHOUT_B_O)


def weighted(weights: Callable[[Tensor], Tensor]) -> Callable[[ResolvedDirection], ResolvedDirection]:
    return lambda resolved: replace(resolved, weights=weights(resolved.weights))


def asked(ids: Callable[[Tensor], Tensor]) -> Callable[[ResolvedDirection], ResolvedDirection]:
    return lambda resolved: replace(resolved, ids=ids(resolved.ids))


Meant = tuple[dla.Direction, Callable[[Tensor], Tensor]]
ONE: Meant = (dla.Logit(9), lambda logits: logits[..., 9])
TWO: Meant = (dla.LogitDifference(9, 14), lambda logits: logits[..., 9] - logits[..., 14])
EACH: Meant = (
    dla.Logit(torch.tensor([9, 14])),
    lambda logits: torch.stack([logits[0, :, 9], logits[1, :, 14]]),
)
MEAN: Meant = (dla.LogitSet([9, 14]), lambda logits: logits[..., [9, 14]].mean(-1))
WRONG: dict[str, tuple[Meant, Callable[[ResolvedDirection], ResolvedDirection], str]] = {
    "sign": (ONE, weighted(torch.neg), "meaning"),
    "the next id": (ONE, asked(lambda ids: ids + 1), "meaning"),
    "sum for a difference": (TWO, weighted(torch.ones_like), "meaning"),
    "swapped difference": (TWO, weighted(torch.neg), "meaning"),
    "half a difference": (TWO, lambda r: replace(r, ids=r.ids[..., :1], weights=r.weights[:1]), "meaning"),
    "sum for a mean": (MEAN, weighted(torch.ones_like), "meaning"),
    "another prompt's token": (EACH, asked(lambda ids: ids.flip(0)), "meaning"),
    "another factor each time": (ONE, weighted(lambda weights: weights * torch.rand(())), "repeatable"),
    "no token": (ONE, asked(lambda ids: ids + 1000), "resolves"),
    "too many weights": (ONE, weighted(lambda _: torch.ones(3)), "resolves"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_direction_is_caught(mistake: str) -> None:
    (direction, meant), alter, name = WRONG[mistake]
    assert check_direction(direction, meant, models=["gpt2"]).ok
    report = check_direction(AlteredDirection(direction, alter), meant, models=["gpt2"])
    assert name in [step.name for step in report.failures()], str(report)
    assert report.failures()[0].problem.startswith("On gpt2, a raw bridge: ")


def test_a_right_adapter_and_a_wrong_one() -> None:
    assert check_adapter(AlteredAdapter(TinyModel("gpt2").model())).ok
    wrong = AlteredAdapter(TinyModel("gpt2").model(), with_norm(lambda norm: replace(norm, bias=None)))
    assert not check_adapter(wrong).ok
