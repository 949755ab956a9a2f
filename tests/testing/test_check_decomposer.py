"""Each law, broken once: `check_decomposer` says which, on what, and why."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import pytest
import torch
import twins
from torch import Tensor
from twins import AlteredDecomposer

import dla
from dla.testing import Profile, TinyModel, check_adapter, check_decomposer, check_direction, parametrize_with_checks
from dla.testing.check_decomposer import check_law
from dla.testing.laws import LAWS, Law
from dla.testing.models import architecture
from dla.writes.routes import Activations

HEADS, COMPONENTS, LAYERS = dla.HeadDecomposer(), dla.ComponentDecomposer(), dla.LayerDecomposer()
GPT2, LLAMA, OLMO2 = TinyModel("gpt2"), TinyModel("llama-biases"), TinyModel("olmo2")

Plan = list[dla.Write]
Rows = Callable[[dla.Write, Activations, Tensor], Tensor]


@final
@dataclass(frozen=True, eq=False)
class Spoilt(dla.Write):
    """A write with something done to its rows."""

    original: dla.Write
    rows: Rows

    @property
    def labels(self) -> Sequence[dla.Label]:
        return self.original.labels

    @property
    def reads(self) -> tuple[dla.Site, ...]:
        return self.original.reads

    def contract(self, activations: Activations, direction: Tensor) -> Tensor:
        return self.rows(self.original, activations, direction)

    def vectors(self, activations: Activations) -> Tensor:
        return self.original.vectors(activations)


def heads(change: Callable[[Any], dla.Write]) -> AlteredDecomposer:
    """A mistake about the heads of every layer."""
    return AlteredDecomposer(HEADS, lambda plan, _: [change(w) if isinstance(w, dla.HeadWrites) else w for w in plan])


def spoilt(rows: Rows) -> AlteredDecomposer:
    return heads(lambda write: Spoilt(write, rows))


def swap(write: dla.HeadWrites) -> dla.Write:
    first, second, *others = write.parts
    return replace(write, parts=[second, first, *others])


def one_layer_off(plan: Plan, model: dla.ModelAdapter) -> Plan:
    n = model.n_layers
    return [
        replace(w, label=replace(w.label, layer=(w.label.layer + 1) % n))
        if isinstance(w, dla.FullOutput) and w.label.layer is not None
        else w
        for w in plan
    ]


def opposed(rows: Tensor, extra: Tensor) -> Tensor:
    """Adds to the first row what it takes from the second."""
    signs = torch.zeros(rows.shape[-3], dtype=rows.dtype)
    signs[0], signs[1] = 1.0, -1.0
    return rows + extra * signs[:, None, None]


def noisy(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
    rows = write.contract(activations, direction)
    return opposed(rows, torch.randn(()).to(rows))


def curved(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
    rows = write.contract(activations, direction)
    return opposed(rows, rows[..., :1, :, :].abs())


def mixed_with_the_batch(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
    rows = write.contract(activations, direction)
    return opposed(rows, rows.mean(-2, keepdim=True).mean(-3, keepdim=True))


def in_half(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
    return write.contract(activations, direction.bfloat16().to(direction))


def in_place(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
    rows = write.contract(activations, direction)
    activations[write.reads[0]].mul_(1.5)
    return rows


class RunsFirst(dla.Decomposer):
    """Looks at activations to make its plan."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        model.run(torch.tensor([[5, 6]]), {}, None)
        return COMPONENTS.writes(model)


class CentresWeights(dla.Decomposer):
    """Centres what heads write, in the model's own weights: the second time there is nothing left to change."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        plan = list(HEADS.writes(model))
        with torch.no_grad():
            for write in plan:
                if isinstance(write, dla.HeadWrites):
                    write.weight.sub_(write.weight.mean(-1, keepdim=True))
        return plan


class Remembers(dla.Decomposer):
    """Keeps what a write came to the first time it was asked."""

    def __init__(self) -> None:
        self.first: dict[Any, Tensor] = {}

    def writes(self, model: dla.ModelAdapter) -> Sequence[dla.Write]:
        return [Spoilt(w, self.remembered) for w in COMPONENTS.writes(model)]

    def remembered(self, write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
        rows = write.contract(activations, direction)
        return self.first.setdefault((write.labels[0], rows.shape), rows).to(rows)


def positions_exchanged(write: dla.Write, activations: Activations, direction: Tensor) -> Tensor:
    rows = write.contract(activations, direction)
    return rows if rows.shape[-1] == 1 else rows.flip(-1)


BROKEN: dict[str, tuple[str, dla.Decomposer, TinyModel, str]] = {
    "a plan that runs": ("plan", RunsFirst(), GPT2, r"`writes` ran the model 1 times; expected a plan that is made"),
    "one label twice": (
        "plan",
        AlteredDecomposer(COMPONENTS, lambda plan, _: [*plan, plan[-1]]),
        GPT2,
        "names two parts '0_mlp_out'. Give every part a label of its own",
    ),
    "a read that is kept secret": (
        "contract",
        heads(twins.Secretive),
        OLMO2,
        r"needs 'blocks\.0\.ln1(_post)?\.hook_scale', which is not among its `reads`",
    ),
    "vectors of another write": (
        "contract",
        heads(lambda write: twins.Disagreeing(write, replace(write, weight=2.0 * write.weight))),
        GPT2,
        "`contract` is not `vectors` dotted with the direction, row 'L0H",
    ),
    "no b_O": (
        "reconstruction",
        AlteredDecomposer(HEADS, twins.without("b_O", 0)),
        GPT2,
        r"(?s)gpt2, a raw bridge, 1 layer, with a prompt of 1 token.*The rows miss `b_O` of block 0: the gap equals b",
    ),
    "no b_O anywhere": (
        "reconstruction",
        AlteredDecomposer(HEADS, twins.without("b_O")),
        TinyModel("gpt2", n_layers=3, seed=1),
        "The rows miss `b_O` of",
    ),
    "one row twice": (
        "reconstruction",
        AlteredDecomposer(COMPONENTS, lambda plan, _: [*plan, replace(plan[-1], label=dla.Label("again"))]),
        GPT2,
        "The rows hold `0_mlp_out` once too often: the gap equals -1 × its row",
    ),
    "no post-norm": (
        "reconstruction",
        AlteredDecomposer(HEADS, twins.rerouted(lambda route: dla.Route())),
        OLMO2,
        "The rows miss the norm after each sublayer, which heads pass",
    ),
    "the last row is not the last": (
        "reconstruction",
        AlteredDecomposer(LAYERS, lambda plan, _: plan[:-1]),
        GPT2,
        "the last row and the constant should be the token's logit",
    ),
    "a rest by subtraction": (
        "measured",
        AlteredDecomposer(HEADS, twins.with_rest),
        GPT2,
        r"(?s)was shown changed while the model ran on as it was.*Row 'rest' is defined as what the others leave",
    ),
    "pieces that miss a bias": (
        "refinement",
        AlteredDecomposer(HEADS, twins.without("b_O")),
        GPT2,
        r"(?s)The 4 pieces of '0_attn_out' \(L0H0, .*should add up to it.*The pieces miss '0_b_O'",
    ),
    "two heads swapped": ("names", heads(swap), GPT2, r"(?s)Row 'L0H1' should be .*It is the row of 'L0H0'"),
    "a layer off by one": (
        "names",
        AlteredDecomposer(COMPONENTS, one_layer_off),
        GPT2,
        r"(?s)Row '1_attn_out' should be.*It is the row of '0_attn_out': labels in another order, a layer off by one",
    ),
    "not linear": ("linearity", spoilt(curved), GPT2, "asked for the opposite, every sign should flip: row 'L0H0'"),
    "positions exchanged": (
        "positions",
        spoilt(positions_exchanged),
        GPT2,
        "pos=0 should be that position of pos=None",
    ),
    "the batch in the row": (
        "batch",
        spoilt(mixed_with_the_batch),
        LLAMA,
        r"(?s)prompt 0 of \d \(of \[.*\] tokens\) should be as if alone: row 'L0H0'",
    ),
    "noise": ("repeatable", spoilt(noisy), GPT2, "the same call twice should give the same bits: row 'L0H0' is off by"),
    "a memory": (
        "repeatable",
        Remembers(),
        GPT2,
        "(?s)prompts in another order should be .*Something of an earlier run",
    ),
    "in place": ("hands off", spoilt(in_place), GPT2, "the activation at 'blocks.0.attn.hook_z' was changed while"),
    "in the weights": ("hands off", CentresWeights(), GPT2, r"the weight '.*' was changed while it was attributed"),
    "half precision": (
        "precision",
        spoilt(in_half),
        TinyModel("gpt2", dtype=torch.float64),
        "changed twice as much, should move the sum twice as much|too few bits",
    ),
}


def law_named(name: str) -> Law:
    return next(law for law in LAWS if law.name == name)


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_broken_law_is_named_and_explained(mistake: str) -> None:
    law, decomposer, subject, message = BROKEN[mistake]
    (step,) = check_law(law_named(law), decomposer, models=[subject]).steps
    assert not step.ok
    assert re.search(message, step.problem), step.problem


def test_a_model_that_was_written_to_is_built_anew() -> None:
    assert not check_law(law_named("hands off"), CentresWeights(), models=["gpt2"]).ok
    assert check_law(law_named("reconstruction"), HEADS, models=["gpt2"]).ok
    assert check_law(law_named("names"), HEADS, models=["gpt2"]).ok


def test_a_right_decomposer_passes_and_the_report_says_on_how_many_models() -> None:
    report = check_decomposer(HEADS, profile=Profile.QUICK)
    assert report.ok
    assert report.first_failure() is None
    assert [step.name for step in report.steps] == [law.name for law in LAWS]
    assert all("models" in step.found for step in report.steps)
    text = str(report)
    assert "check_decomposer: HeadDecomposer" in text
    assert text.count("✓") == len(LAWS)
    report.raise_for_failure()


def test_a_wrong_one_raises_the_diagnosis_on_request() -> None:
    report = check_decomposer(AlteredDecomposer(COMPONENTS, twins.without("pos_embed")), models=["gpt2"])
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
        assert check_law(law_named(name), HEADS, models=own).ok
    (step,) = check_law(
        law_named("reconstruction"), AlteredDecomposer(HEADS, twins.without("b_O")), models=[bridge]
    ).steps
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
    wrong = AlteredDecomposer(HEADS, twins.without("b_O"))
    pairs = parametrize_with_checks([wrong], models=["gpt2"]).args[1]
    check = next(check for _, check in pairs if str(check) == "reconstruction")
    with pytest.raises(AssertionError, match=r"(?s)reconstruction: .*The rows miss `b_O` of block 0"):
        check(wrong)


@pytest.mark.parametrize(
    ("alter", "meant", "name"),
    [
        (twins.shifted_ids, lambda logits: logits[..., 9], "meaning"),
        (twins.negated, lambda logits: logits[..., 9], "meaning"),
        (lambda resolved: replace(resolved, weights=resolved.weights * torch.rand(())), None, "repeatable"),
        (lambda resolved: replace(resolved, ids=resolved.ids + 1000), None, "resolves"),
        (lambda resolved: replace(resolved, weights=torch.ones(3)), None, "resolves"),
    ],
)
def test_a_wrong_direction_is_caught(alter: Any, meant: Any, name: str) -> None:
    report = check_direction(twins.AlteredDirection(dla.Logit(9), alter), meant)
    assert name in [step.name for step in report.failures()], str(report)
    assert report.failures()[0].problem.startswith("On gpt2, a raw bridge: ")


def test_a_right_adapter_and_a_wrong_one() -> None:
    assert check_adapter(twins.AlteredAdapter(architecture("gpt2").bridge())).ok
    wrong = twins.AlteredAdapter(architecture("gpt2").bridge(), twins.with_norm(lambda norm: {"bias": None}))
    assert not check_adapter(wrong).ok
