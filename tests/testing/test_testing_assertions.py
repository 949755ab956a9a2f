"""The public assertions pass what is right, and say of what is wrong where it is."""

from dataclasses import replace

import pytest
import torch
from subjects import GPT2, LLAMA, some_tokens

import dla
from dla.testing import assert_attributions_equal, assert_reconstructs, assert_refines


def attribution(decomposer: dla.Decomposer, subject: object = GPT2) -> dla.Attribution:
    model = subject.model()  # type: ignore[attr-defined]  # a TinyModel
    return dla.Attributor(model, decomposer).attribute(some_tokens(1), dla.Logit(9), pos=None)


HEADS, COMPONENTS, LAYERS = dla.HeadDecomposer(), dla.ComponentDecomposer(), dla.LayerDecomposer()


def nudged(result: dla.Attribution, name: str, at: tuple[int, ...], by: float = 0.1) -> dla.Attribution:
    tensor = getattr(result, name).clone()
    tensor[at] += by
    return replace(result, **{name: tensor})


def test_right_attributions_pass() -> None:
    for subject in (GPT2, LLAMA):
        own = subject.logits(some_tokens(1))[..., 9]
        for decomposer in (HEADS, COMPONENTS, LAYERS):
            assert_reconstructs(attribution(decomposer, subject), own)
            assert_reconstructs(attribution(decomposer, subject))
        assert_refines(attribution(HEADS, subject), attribution(COMPONENTS, subject))
        assert_refines(attribution(COMPONENTS, subject), attribution(dla.BlockDecomposer(), subject))
        assert_refines(attribution(HEADS, subject), attribution(HEADS, subject))
        assert_attributions_equal(attribution(HEADS, subject), attribution(HEADS, subject))


def test_a_sum_that_misses() -> None:
    wrong = nudged(attribution(HEADS), "values", (3, 1, 4))
    message = (
        r"The 14 rows and the constant do not come to the model's own logit, at batch 1, position 4: expected .*0\.1"
    )
    with pytest.raises(AssertionError, match=message.replace("14", str(len(wrong.parts))).replace(r".*0\.1", "")):
        assert_reconstructs(wrong)
    with pytest.raises(
        AssertionError, match=r"`total` is not what the rows come to, at batch 0, position 2: expected "
    ):
        assert_reconstructs(nudged(attribution(HEADS), "total", (0, 2)))


def test_a_logit_that_is_not_the_models_own() -> None:
    own = GPT2.logits(some_tokens(1))[..., 10]
    with pytest.raises(
        AssertionError, match=r"The measured logit is not the model's own, at batch \d, position \d: exp"
    ):
        assert_reconstructs(attribution(HEADS), own)


def test_a_tolerance_that_means_nothing() -> None:
    result = attribution(HEADS)
    with pytest.raises(AssertionError, match=r"The tolerance is .* so large that the check means nothing"):
        assert_reconstructs(replace(result, tolerance=result.tolerance * 1e6))


def test_pieces_that_do_not_add_up() -> None:
    fine, coarse = attribution(HEADS), attribution(COMPONENTS)
    with pytest.raises(
        AssertionError, match=r"The 5 pieces of '0_attn_out' \(L0H0, L0H1, .* do not add up to it, at bat"
    ):
        assert_refines(nudged(fine, "values", (fine.labels.index("L0H1"), 0, 0)), coarse)
    with pytest.raises(
        AssertionError, match=r"'1_mlp_out' has no pieces in the finer attribution: something is left out"
    ):
        assert_refines(fine.select(where=lambda label: str(label) != "1_mlp_out"), coarse)
    with pytest.raises(
        AssertionError, match=r"'embed' is a piece of no row of the coarser attribution, whose rows are L0H"
    ):
        assert_refines(coarse, fine.select(kind="head"))


def test_attributions_that_are_not_equal() -> None:
    one = attribution(HEADS)
    with pytest.raises(AssertionError, match=r"Row 'L0H2' is another, at batch 1, position 0: expected .* got"):
        assert_attributions_equal(nudged(one, "values", (one.labels.index("L0H2"), 1, 0)), one)
    with pytest.raises(AssertionError, match=r"`constant` is another, at batch 0, position 1"):
        assert_attributions_equal(nudged(one, "constant", (0, 1)), one)
    with pytest.raises(AssertionError, match=r"The labels differ: missing \['L0H0', .*\], not expected \['0_attn_out'"):
        assert_attributions_equal(attribution(COMPONENTS), one)
    last = dla.Attributor(GPT2.model(), HEADS).attribute(some_tokens(1), dla.Logit(9))
    with pytest.raises(AssertionError, match=r"`total` has shape \[2\], expected \[2, 6\]"):
        assert_attributions_equal(last, one)
    with pytest.raises(AssertionError, match=r"Row 'embed' is another"):
        assert_attributions_equal(one, one, factor=2.0)
    doubled = replace(one, **{name: 2 * getattr(one, name) for name in ("values", "total", "constant", "logit")})
    assert_attributions_equal(doubled, one, factor=2.0)


def test_nan_equals_nan_only() -> None:
    one = attribution(HEADS)
    holes = replace(one, values=torch.where(one.values > 0, one.values, torch.nan))
    assert_attributions_equal(holes, holes)
    with pytest.raises(AssertionError, match="is another"):
        assert_attributions_equal(holes, one)
