"""Shares with the final norm in the game, against all orders by hand; and what a result says of itself."""

import itertools
import re
from typing import Any

import pytest
import torch
from torch import Tensor

import dla
import dla.demo
from dla.results import shares as module
from dla.testing import TinyModel
from dla.testing.assertions import assert_close
from dla.testing.laws.compare import sum_size
from tests.subjects import GPT2, each_of_a_few, needs_hooked_transformer, some_tokens

HEADS, TOKENS, ASKED = dla.HeadDecomposer(), some_tokens(1), dla.LogitDifference(5, 9)
PROMPT = "When Mary and John went to the store , John gave a drink to"


def by_all_orders(model: Any, vectors: list[Tensor]) -> Tensor:
    """The mean over all orders of what the difference gains when a vector joins, through the model's own final norm."""

    def worth(some: tuple[int, ...]) -> Tensor:
        stream = torch.zeros_like(vectors[0])
        stream = stream + sum(vectors[i] for i in some)
        with torch.no_grad():
            normalised = model.ln_final(stream) - model.ln_final(torch.zeros_like(stream))
        return normalised @ (model.unembed.W_U[:, 5] - model.unembed.W_U[:, 9])

    orders = list(itertools.permutations(range(len(vectors))))
    shares = [torch.zeros_like(worth(())) for _ in vectors]
    for order in orders:
        for place, part in enumerate(order):
            shares[part] = shares[part] + worth(order[: place + 1]) - worth(order[:place])
    return torch.stack(shares) / len(orders)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_share_is_the_mean_gain_over_all_orders(name: str) -> None:
    model = TinyModel(name).model()
    result = dla.Attributor(model, dla.ComponentDecomposer()).attribute(TOKENS, ASKED)
    vectors = [result.part(label).vector() for label in result.labels]
    expected = by_all_orders(model, vectors)[..., 0]
    assert_close(result.shares().shares, expected.to(result.values), sum_size(result), 1e-5)


@each_of_a_few
def test_shares_add_up_to_the_total(subject: TinyModel) -> None:
    result = dla.Attributor(subject.model(), HEADS).attribute(TOKENS, {"a": ASKED, "b": dla.Logit(3)}, pos=[1, -1])
    grouped = result.group_by("kind")
    shares = grouped.shares()
    assert_close(shares.shares.sum(0), result.total, sum_size(result), 4 * subject.eps)
    assert shares.shares.shape == grouped.values.shape
    alone = result.direction("b").group_by("kind").shares()
    torch.testing.assert_close(shares.direction("b").shares, alone.shares, atol=1e-5, rtol=1e-4)


def test_what_writes_nothing_has_no_share() -> None:
    attributor = dla.Attributor(GPT2.model(), dla.ComponentDecomposer())
    result = attributor.attribute(TOKENS, ASKED, edits=[dla.Edit("0_attn_out", dla.Zero())])
    shares = result.shares()
    assert float(shares.shares[shares.labels.index("0_attn_out")].abs().max()) == 0


@needs_hooked_transformer
def test_without_a_final_norm_shares_are_the_values() -> None:
    model = TinyModel("no-norm", "hooked").model()
    result = dla.Attributor(model, dla.ComponentDecomposer()).attribute(TOKENS, ASKED)
    torch.testing.assert_close(result.shares().shares, result.values)


def test_in_half_precision_the_readouts_rounding_is_in_its_row() -> None:
    model = TinyModel("llama", dtype=torch.bfloat16).model()
    result = dla.Attributor(model, dla.ComponentDecomposer()).attribute(TOKENS, ASKED)
    assert_close(result.shares().shares.sum(0), result.total, sum_size(result), 1e-5)


def test_a_wrong_weight_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: every coalition has the same weight, which also adds up for two rows and not for five."""
    monkeypatch.setattr(module.math, "comb", lambda n, k: n)
    with pytest.raises(AssertionError):
        test_shares_add_up_to_the_total(GPT2)


def test_the_look_of_shares_and_wrong_questions() -> None:
    attributor = dla.Attributor(dla.demo.load_small("raw"), HEADS)
    result = attributor.attribute(PROMPT, dla.LogitDifference(" Mary", " John"))
    shares = result.group_by("kind").shares()
    assert re.search(r"sum of all.*\+7\.6", str(shares))
    assert list(shares.to_dataframe().share) == pytest.approx(shares.shares.flatten().tolist())
    assert "<table>" in shares._repr_html_()
    assert repr(shares) == "Shares(logit difference ' Mary' - ' John', HeadDecomposer: 5 parts)"
    with pytest.raises(ValueError, match=re.escape("There are 20 rows, and at most 15 can share")):
        result.shares()
    with pytest.raises(ValueError, match=r"Some rows were left out by select\(\)"):
        result.select(kind="head").shares()
    with pytest.raises(ValueError, match="they do not share the logit"):
        dla.Attributor(GPT2.model(), dla.LensDecomposer()).attribute(TOKENS, ASKED).shares()


def test_caveats_are_this_results_numbers() -> None:
    model = GPT2.model()
    result = dla.Attributor(model, HEADS).attribute(TOKENS, dla.Logit(5))
    effects = result.effects(3)
    caveats = result.caveats(effects)
    size, total = result.values.abs().sum(0).mean(), result.total.abs().mean()
    assert caveats.cancellation == pytest.approx(float(size / total), rel=1e-5)
    with torch.no_grad():
        expected = model(TOKENS)[:, -1].mean()
    assert caveats.common == pytest.approx(float(expected), rel=1e-4)
    direct = result.direct_effects()
    label, value, effect = direct.top(1, by="reaction")[0][0], *caveats.reaction[1:]  # type: ignore[index]
    assert caveats.reaction is not None
    assert caveats.reaction[0] == label
    place = direct.labels.index(label)
    assert effect - value == pytest.approx(float(direct.reactions[place].mean()), rel=1e-4)
    assert caveats.repaired == pytest.approx(
        (float(effects.direct_effects.mean(1).sum()), float(effects.measured_effects.mean(1).sum())), rel=1e-4
    )
    assert len(caveats.sentences) == 5
    text = " ".join(str(caveats).split())
    assert f"{caveats.cancellation:.1f} times as much" in text
    assert f"{caveats.common:+.2f} is the mean over all tokens" in text
    assert "<p>" in caveats._repr_html_()


def test_caveats_say_the_sign_of_the_sum() -> None:
    attributor = dla.Attributor(GPT2.model(), HEADS)
    one = attributor.attribute(TOKENS[:1], ASKED)
    other = attributor.attribute(TOKENS[:1], dla.LogitDifference(ASKED.minus, ASKED.token))
    for result in (one, other):
        assert f"The rows add up to {float(result.total):.2f} logits," in " ".join(str(result.caveats()).split())
    assert float(one.total) * float(other.total) < 0
    both = attributor.attribute(TOKENS[:1].repeat(2, 1), dla.LogitDifference([5, 9], [9, 5]))
    said = " ".join(str(both.caveats()).split())
    assert f"The rows add up to {abs(float(one.total)):.2f} logits, of either sign, and" in said


def test_effects_of_another_question_are_refused() -> None:
    attributor = dla.Attributor(GPT2.model(), HEADS)
    other = attributor.attribute(some_tokens(2), ASKED).effects(1)
    with pytest.raises(ValueError, match=r"Pass what effects of this result gave"):
        attributor.attribute(TOKENS, ASKED).caveats(other)


def test_what_later_parts_take_back_is_said() -> None:
    """By hand: a row's own part and what follows from it, at the position asked about."""
    result = dla.Attributor(dla.demo.load_small("raw"), HEADS).attribute(PROMPT, dla.LogitDifference(" Mary", " John"))
    totals = dla.total_effects(result)
    caveats = result.caveats(totals=totals)
    assert caveats.erased is not None
    label, direct, total = caveats.erased
    i = totals.labels.index(label)
    assert direct == pytest.approx(float(result.select(label).values), rel=1e-4)
    assert total == pytest.approx(float(totals.total[i, 0, -1]), rel=1e-4)
    assert direct * (total - direct) < 0
    lost = torch.minimum(totals.direct[..., -1].abs(), totals.through[..., -1].abs())
    taken = totals.direct[..., -1] * totals.through[..., -1] < 0
    assert i == int((lost * taken).mean(1).argmax())
    assert f"{direct:+.2f} directly" in " ".join(str(caveats).split())
    with pytest.raises(ValueError, match=r"Pass what total_effects of this result gave"):
        dla.Attributor(GPT2.model(), HEADS).attribute(TOKENS[:1], ASKED).caveats(totals=totals)


def test_a_difference_has_no_common_part() -> None:
    caveats = dla.Attributor(GPT2.model(), HEADS).attribute(TOKENS, ASKED).caveats()
    assert caveats.common == 0
    assert "nothing that raises all tokens alike" in " ".join(str(caveats).split())
    assert caveats.repaired is None
    with pytest.raises(TypeError, match=r"what result\.effects\(\) gave"):
        dla.Attributor(GPT2.model(), HEADS).attribute(TOKENS, ASKED).caveats(3)  # type: ignore[arg-type]
    at = dla.ResidualVector(torch.ones(32), at="blocks.1.hook_resid_pre")
    place = dla.Attributor(GPT2.model(), HEADS).attribute(TOKENS, at).caveats()
    assert (place.common, place.reaction) == (None, None)
