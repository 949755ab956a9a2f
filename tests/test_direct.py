"""`direct_logit_attribution` is TransformerLens' own, row by row, wherever that is right."""

import inspect
import itertools
from typing import Any

import numpy as np
import pytest
import torch
import transformer_lens.tools.analysis as analysis
from subjects import GPT2, LINE, needs_hooked_transformer, params, some_ids, some_tokens
from torch import Tensor
from transformer_lens.utilities import Slice

import dla
from dla.testing import TinyModel
from dla.testing.models import PROMPT

UNITS = ("component", "layer", "head")
COMPATIBLE = TinyModel("gpt2", processed=True)
SUBJECTS = params(
    [
        COMPATIBLE,
        TinyModel("llama", processed=True),
        TinyModel("ln", "hooked", True),
        TinyModel("rms", "hooked", True),
        TinyModel("grouped-query", "hooked", True),
    ]
)
each = pytest.mark.parametrize("subject", SUBJECTS)
each_unit = pytest.mark.parametrize("unit", UNITS)


def theirs(model: Any, *args: Any, **options: Any) -> Any:
    with torch.no_grad():
        return analysis.direct_logit_attribution(model, *args, **options)


def assert_same(model: Any, *args: Any, **options: Any) -> None:
    """Both functions give the same labels, rows, shape and ranking."""
    expected, actual = theirs(model, *args, **options), dla.direct_logit_attribution(model, *args, **options)
    assert actual.labels == expected.labels
    assert actual.unit == expected.unit
    size = float(expected.attribution.abs().sum(0).max())
    torch.testing.assert_close(actual.attribution, expected.attribution, rtol=0, atol=1e-5 * size)
    ranked = [label for label, _ in expected.top(4)]
    assert [label for label, _ in actual.top(4)] == ranked
    for (_, ours), (_, value) in zip(actual.top(4), expected.top(4), strict=True):
        assert ours == pytest.approx(value, abs=1e-5 * size)


def test_the_signature_is_theirs() -> None:
    ours, other = (inspect.signature(f) for f in (dla.direct_logit_attribution, analysis.direct_logit_attribution))
    assert list(ours.parameters) == list(other.parameters)
    for name, parameter in other.parameters.items():
        assert ours.parameters[name].default == parameter.default
        assert ours.parameters[name].kind == parameter.kind


@each
@each_unit
@pytest.mark.parametrize("pos", [-1, 2, None, (1, 4), [0, 3]], ids=str)
@pytest.mark.parametrize("with_cache", [False, True], ids=["prompt", "cache"])
def test_rows_are_theirs(subject: TinyModel, unit: str, pos: Any, with_cache: bool) -> None:
    model, tokens = subject.model(), some_tokens(12, 3, 6)
    cache = model.run_with_cache(tokens)[1] if with_cache else None
    given = [None if with_cache else tokens]
    pairs: list[tuple[Any, Any]] = [(9, None), (9, 20), (torch.tensor(9), torch.tensor(20)), (" Mary", " John")]
    if isinstance(pos, int):
        pairs.append((some_ids(1, 3), some_ids(2, 3)))
    if pos is None:
        pairs.append((some_ids(1, 3, 6), some_ids(2, 3, 6)))
    for answer, incorrect in pairs:
        assert_same(model, *given, answer, incorrect, unit=unit, pos=pos, cache=cache)


@each
@each_unit
def test_text_prompts_and_caches_without_a_batch_dimension(subject: TinyModel, unit: str) -> None:
    model = subject.model()
    assert_same(model, PROMPT, " Mary", " John", unit=unit)
    assert_same(model, [PROMPT, PROMPT.replace("Mary", "Alice")], " Mary", " John", unit=unit)
    _, cache = model.run_with_cache(PROMPT)
    cache.remove_batch_dim()
    # With a tensor of one id, TransformerLens keeps an axis of size 1; with text there is none.
    assert_same(model, None, " Mary", " John", unit=unit, cache=cache)


@each_unit
def test_a_position_each_of_a_single_prompt(unit: str) -> None:
    tokens = some_tokens(13, 1, 6)
    assert_same(COMPATIBLE.model(), tokens, some_ids(1, 1, 6), some_ids(2, 1, 6), unit=unit, pos=None)
    ours = dla.direct_logit_attribution(COMPATIBLE.model(), tokens, some_ids(1, 6), some_ids(2, 6), unit=unit, pos=None)
    same = dla.direct_logit_attribution(
        COMPATIBLE.model(), tokens, some_ids(1, 1, 6), some_ids(2, 1, 6), unit=unit, pos=None
    )
    torch.testing.assert_close(ours.attribution, same.attribution)


@pytest.mark.parametrize("pos", [Slice(-1), Slice((1, 3)), Slice(None), Slice(np.array([0, 2]))], ids=str)
def test_their_slices(pos: Any) -> None:
    assert_same(COMPATIBLE.model(), some_tokens(12), 9, 20, pos=pos)


@each
def test_the_remainder_is_all_that_no_head_wrote_and_not_what_is_left(subject: TinyModel) -> None:
    model, tokens = subject.model(), some_tokens(12)
    one_call = dla.direct_logit_attribution(model, tokens, 9, 20, unit="head")
    rows = dla.Attributor(model, dla.HeadDecomposer()).attribute(tokens, dla.LogitDifference(9, 20))
    rest = rows.select(where=lambda part: part.kind != "head")
    assert one_call.labels[-1] == "remainder"
    torch.testing.assert_close(one_call.attribution[-1], rest.values.sum(0))


@each
@each_unit
def test_the_result_carries_its_proof(subject: TinyModel, unit: str) -> None:
    tokens = some_tokens(12)
    found = dla.direct_logit_attribution(subject.model(), tokens, 9, unit=unit, pos=None)
    total = found.attribution[-1] if unit == "layer" else found.attribution.sum(0)
    own = subject.logits(tokens)[..., 9]
    torch.testing.assert_close(total + found.result.constant, own, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.result.logit, own, rtol=0, atol=1e-4)


WITHOUT_MID = params(
    [
        TinyModel("attention-only", "hooked", True),
        TinyModel("parallel", "hooked", True),
        TinyModel("gpt_neox", processed=True),
        TinyModel("phi", processed=True),
    ]
)


@pytest.mark.parametrize("subject", WITHOUT_MID)
def test_layers_where_nothing_lies_between_attention_and_mlp(subject: TinyModel) -> None:
    """TransformerLens raises KeyError here."""
    model, tokens = subject.model(), some_tokens(12)
    found = dla.direct_logit_attribution(model, tokens, 9, 20, unit="layer")
    assert found.labels == ["0_pre", "1_pre", "final_post"]
    components = dla.direct_logit_attribution(model, tokens, 9, 20, unit="component")
    running = components.attribution.cumsum(0)
    ends = [max(i for i, label in enumerate(components.labels) if label.startswith(("0_", "embed", "pos"))), -1]
    torch.testing.assert_close(found.attribution[1:], running[ends], rtol=1e-4, atol=1e-4)


def test_their_layers_do_raise_key_error_there() -> None:
    model = TinyModel("gpt_neox", processed=True).model()
    with pytest.raises(KeyError):
        theirs(model, some_tokens(12), 9, 20, unit="layer")


@needs_hooked_transformer
def test_an_unfolded_model_is_attributed_with_the_norm_that_it_has() -> None:
    """TransformerLens drops γ without a word; its rows do not add up."""
    subject = TinyModel("ln", "hooked")
    tokens = some_tokens(12)
    own = subject.logits(tokens)[:, -1, 9]
    ours, other = (function(subject.model(), tokens, 9) for function in (dla.direct_logit_attribution, theirs))
    torch.testing.assert_close(ours.attribution.sum(0) + ours.result.constant, own, rtol=0, atol=1e-4)
    assert bool((other.attribution.sum(0) + subject.model().unembed.b_U[9] - own).abs().max() > 0.1)


def test_top_takes_the_largest_mean() -> None:
    found = dla.direct_logit_attribution(COMPATIBLE.model(), some_tokens(12), 9, pos=None)
    means = found.attribution.flatten(1).mean(-1)
    assert len(found.top(3)) == 3
    assert len(found.top(100)) == len(found.labels)
    assert found.top(1) == [(found.labels[int(means.argmax())], pytest.approx(float(means.max())))]
    values = [value for _, value in found.top(100)]
    assert values == sorted(values, reverse=True)


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "unit": ({"unit": "neuron"}, r"unit must be one of \('component', 'layer', 'head'\), got 'neuron'"),
    "no answer": ({"answer_tokens": None}, r"answer_tokens is required"),
    "no input": ({"input": None}, r"(?i)provide either `input` to run the model, or a precomputed `cache`"),
    "shapes": (
        {"answer_tokens": torch.tensor([3, 4]), "incorrect_tokens": torch.tensor([3])},
        r"answer_tokens have shape \[2\] and incorrect_tokens \[1\]; they must be the same",
    ),
    "several tokens": ({"answer_tokens": " Mary John"}, r"' Mary John' is 2 tokens \(' Mary', ' John'\)"),
    "unknown": ({"answer_tokens": " Maryland"}, r"' Maryland' is not in the model's vocabulary"),
    "position": ({"pos": 17}, r"pos=17 is out of range for a prompt of 6 tokens \(from -6 to 5\)"),
    "either a prompt or a position": (
        {"answer_tokens": torch.tensor([3, 4]), "pos": None},
        r"could mean one a prompt or one a position. Pass shape \[batch, pos\]",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_refusals(refusal: str) -> None:
    changes, message = REFUSALS[refusal]
    arguments = {"input": some_tokens(12), "answer_tokens": 9, **changes}
    with pytest.raises(ValueError, match=message):
        dla.direct_logit_attribution(COMPATIBLE.model(), **arguments)


@pytest.mark.parametrize("refusal", ["unit", "no answer", "no input"])
def test_refusals_are_of_their_kind(refusal: str) -> None:
    changes, message = REFUSALS[refusal]
    arguments = {"input": some_tokens(12), "answer_tokens": 9, **changes}
    with pytest.raises(ValueError, match=message.split(":")[0]):
        theirs(COMPATIBLE.model(), **arguments)


def test_a_raw_bridge_is_refused_and_the_way_out_named() -> None:
    with pytest.raises(ValueError, match=r"not in compatibility mode.*enable_compatibility_mode\(\).*dla\.Attributor"):
        dla.direct_logit_attribution(GPT2.model(), some_tokens(12), 9)
    with pytest.raises(ValueError, match="compatibility mode"):
        theirs(GPT2.model(), some_tokens(12), 9)


def test_the_comparison_sees_a_difference() -> None:
    """What `assert_same` compares is not empty: another token, unit or position is not the same."""
    first: Tensor = theirs(COMPATIBLE.model(), some_tokens(12), 9).attribution
    for answer, pos in itertools.product((9, 10), (-1, 2)):
        other = dla.direct_logit_attribution(COMPATIBLE.model(), some_tokens(12), answer, pos=pos).attribution
        assert torch.allclose(other, first, atol=1e-5) == ((answer, pos) == (9, -1))


def test_the_line_of_transformer_lens_that_is_compared_with() -> None:
    assert hasattr(analysis, "direct_logit_attribution")
    assert LINE in (3, 4)
