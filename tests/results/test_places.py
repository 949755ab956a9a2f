"""One prompt of a batch, each place of a result, a position for each prompt, generated text: each as it is alone."""

from typing import Any

import pytest
import torch
from subjects import GPT2, HOOKED_LN, LLAMA, needs_hooked_transformer, some_ids, some_tokens

import dla
import dla.demo
from dla.testing import TinyModel, assert_attributions_equal
from dla.testing.laws.compare import sum_size

DEMO = dla.demo.load_small("raw")
PROMPTS = [
    "When Mary and John went to the store , John gave a drink to",
    "After Rose and Paul left the park , Paul decided to give a book to",
    "Tom and Amy",
]
PAIRS = [(" Mary", " John"), (" Rose", " Paul"), (" Tom", " Amy")]
DIFFERENCE = dla.LogitDifference(*map(list, zip(*PAIRS, strict=True)))
DECOMPOSERS = [dla.HeadDecomposer(), dla.SourceDecomposer(), dla.LensDecomposer()]


def attribute(prompts: Any, direction: Any, decomposer: Any = DECOMPOSERS[0], **options: Any) -> dla.Attribution:
    return dla.Attributor(DEMO, decomposer).attribute(prompts, direction, **options)


@pytest.mark.parametrize("decomposer", DECOMPOSERS, ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("pos", [-1, slice(1, None)], ids=str)
def test_one_prompt_of_a_batch_is_as_it_is_alone(decomposer: dla.Decomposer, pos: Any) -> None:
    together = attribute(PROMPTS, DIFFERENCE, decomposer, pos=pos)
    for i, (one, prompt, pair) in enumerate(zip(together, PROMPTS, PAIRS, strict=True)):
        alone = attribute(prompt, dla.LogitDifference(*pair), decomposer, pos=pos)
        assert one.labels == alone.labels
        assert one.tokens == alone.tokens
        assert one.positions.tolist() == alone.positions.tolist()
        assert_attributions_equal(one, alone, eps=8 * GPT2.eps)
        assert_attributions_equal(together[i - 3], one)


def test_one_prompt_can_be_looked_at_closer() -> None:
    one = attribute(PROMPTS, DIFFERENCE)[1]
    alone = attribute(PROMPTS[1], dla.LogitDifference(*PAIRS[1]))
    by = dla.SourceDecomposer()
    assert_attributions_equal(one.refine("L1H1", by=by), alone.refine("L1H1", by=by), eps=8 * GPT2.eps)
    torch.testing.assert_close(one.trace("L1H1", by=by).values, alone.trace("L1H1", by=by).values, atol=1e-4, rtol=0)
    assert str(one.effects(2)).split("┏")[1] == str(alone.effects(2)).split("┏")[1]
    _, cache = DEMO.run_with_cache(PROMPTS)
    cached = attribute(PROMPTS, DIFFERENCE, cache=cache)[1]
    assert_attributions_equal(cached.refine("L1H1", by=by).select("L1H2"), alone.select("L1H2"), eps=8 * GPT2.eps)
    several = attribute(PROMPTS, {"a": DIFFERENCE, "b": dla.Logit(" Mary")}, pos=[-2, -1])[2]
    assert several.direction("a").values.shape[1:] == (1, 2)
    edited = attribute(PROMPTS, DIFFERENCE, edits=[dla.Edit("L0H0", dla.Zero())])[1]
    with pytest.raises(ValueError, match=r"or is one prompt of an edited run\. Attribute again\.$"):
        edited.refine("L1H1", by=by)


def test_what_is_no_prompt_of_a_result_is_explained() -> None:
    result = attribute(PROMPTS, DIFFERENCE)
    with pytest.raises(IndexError, match=r"^result\[3\]: there are 3 prompts\."):
        result[3]
    with pytest.raises(TypeError, match=r"^result\['a'\]: pass the number of a prompt\."):
        result["a"]  # type: ignore[index]  # as a user may
    _, cache = DEMO.run_with_cache(PROMPTS[0], remove_batch_dim=True)
    with pytest.raises(ValueError, match=r"^The result is about one prompt, without an axis of prompts\."):
        attribute(None, dla.Logit(5), cache=cache)[0]


@pytest.mark.parametrize("kind", [torch.tensor, lambda each: torch.tensor(each).numpy()], ids=["tensor", "array"])
def test_a_tensor_of_positions_has_one_for_each_prompt(kind: Any) -> None:
    result = attribute(PROMPTS, DIFFERENCE, pos=kind([3, -2, 1]))
    assert result.positions.tolist() == [3, 14, 1]
    for i, pos in enumerate([3, 14, 1]):
        alone = attribute(PROMPTS[i], dla.LogitDifference(*PAIRS[i]), pos=pos)
        torch.testing.assert_close(result.values[:, i], alone.values[:, 0], rtol=0, atol=1e-4)
    several = attribute(PROMPTS[:2], dla.Logit(" Mary"), pos=kind([[3, -1], [0, 5]]))
    assert several.positions.tolist() == [[3, 14], [0, 5]]


@pytest.mark.parametrize("pos", [torch.tensor([1, 2]), torch.zeros(3, 1, 1).long(), torch.zeros(3, 0).long()], ids=str)
def test_a_tensor_of_positions_for_other_prompts_is_refused(pos: Any) -> None:
    with pytest.raises(ValueError, match=r"^pos has shape .* is one position for each of 3 prompts, \[3\], or several"):
        attribute(PROMPTS, DIFFERENCE, pos=pos)


def test_a_position_that_a_prompt_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^pos=4 is out of range for a prompt of 4 tokens"):
        attribute(PROMPTS, DIFFERENCE, pos=torch.tensor([4, 4, 4]))


def test_the_models_own_tokens_are_named_for_each_prompt(tmp_path: Any) -> None:
    result = attribute(PROMPTS[:2], dla.TopTokens(2))
    assert result.provenance.asked[0] == ("Mary", "Rose")
    assert "top 1 ('Mary', 'Rose')" in str(result)
    frame = result.to_dataframe()
    assert set(frame[frame["direction"] == "top 1"]["asked"]) == {"Mary", "Rose"}
    assert result.places().to_dataframe()["top 1 token"].tolist() == ["Mary", "Rose"]
    assert "'Rose' +" in str(result.places())
    assert result[1].provenance.asked[0] == ("Rose",)
    result.save(tmp_path / "x.nc")
    assert dla.load(tmp_path / "x.nc").provenance.asked == result.provenance.asked
    assert attribute(PROMPTS[0], dla.TopTokens(2)).directions[0] == "Mary"


def test_each_place_has_a_line() -> None:
    result = attribute(PROMPTS[1:], dla.Logit(" Mary"), pos=slice(-4, None))
    frame = result.places().to_dataframe()
    assert frame["logit"].tolist() == pytest.approx(result.logit[~result.logit.isnan()].tolist())
    assert frame["token"].tolist()[-3:] == ["Tom", "and", "Amy"]
    assert frame["following"].tolist()[-3:] == ["and", "Amy", ""]
    text = str(result.places(1))
    best = result[0].places(1).rows.labels
    assert "1: 3 'Amy'" in text
    assert any(label in text for label in best)
    with pytest.raises(ValueError, match=r"^parts=-1: ask for at least 0 parts\."):
        result.places(-1)


SUBJECTS = [GPT2, LLAMA, pytest.param(HOOKED_LN, marks=needs_hooked_transformer)]


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_each_token_of_a_text_is_as_it_is_asked_step_by_step(subject: TinyModel) -> None:
    prompt, text = some_tokens(5, 1), some_ids(5, 1, 4)
    attributor = dla.Attributor(subject.model(), dla.HeadDecomposer())
    result = attributor.attribute_text(prompt, text)
    for i in range(4):
        before = torch.cat([prompt, text[:, :i]], 1)
        steps = attributor.attribute(before, {"logit": dla.Logit(text[:, i]), "p": dla.LogProbability(text[:, i])})
        assert bool(
            (
                (result.direction("logit").values[..., i] - steps.direction("logit").values).abs().sum(0)
                <= 8 * subject.eps * sum_size(steps.direction("logit"))
            ).all()
        )
        own = result.direction("log-probability").values[..., i]
        assert bool(((own - steps.direction("p").values).abs().sum(0) <= 8 * subject.eps * sum_size(steps)[1]).all())


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_what_the_model_writes_is_its_own_first_answer_each_time(subject: TinyModel) -> None:
    prompts = some_tokens(6)
    attributor = dla.Attributor(subject.model(), dla.HeadDecomposer())
    result = attributor.generate(prompts, 3, stop_at_eos=False)
    for i, row in enumerate(prompts):
        ids = row
        for step in range(3):
            logits = subject.logits(ids[None])[0, -1]
            best = int(logits.argmax())
            ids = torch.cat([ids, torch.tensor([best])])
            written = float(result.direction("log-probability").output_logit[i, step])
            assert written == pytest.approx(float(logits.double().log_softmax(-1)[best]), abs=1e-4)
        assert result.rerun is not None
        assert result.rerun.query.prompts.tokens[i].tolist() == ids.tolist()


def test_text_is_written_and_drawn() -> None:
    attributor = dla.Attributor(DEMO, dla.HeadDecomposer())
    result = attributor.generate(PROMPTS[0], 3)
    assert result.tokens[0][-3:] == ["Mary", ".", "</s>"]
    assert_attributions_equal(attributor.attribute_text(PROMPTS[0], " Mary . </s>"), result)
    torch.manual_seed(0)
    drawn = attributor.generate(PROMPTS, 4, do_sample=True, temperature=5.0, stop_at_eos=False)
    torch.manual_seed(0)
    again = attributor.generate(PROMPTS, 4, do_sample=True, temperature=5.0, stop_at_eos=False)
    assert drawn.tokens == again.tokens
    assert drawn.tokens[0][-4:] != result.tokens[0][-4:]


def test_text_that_cannot_be_asked_about_is_explained() -> None:
    attributor = dla.Attributor(DEMO, dla.HeadDecomposer())
    with pytest.raises(ValueError, match=r"^The continuation is empty \(''\)\. Pass at least one token\."):
        attributor.attribute_text(PROMPTS[0], "")
    with pytest.raises(ValueError, match=r"^n=0: ask for at least one token\."):
        attributor.generate(PROMPTS[0], 0)
    with pytest.raises(
        ValueError, match=r"^The longest prompt has 15 tokens, and 100000 more are asked for; the model"
    ):
        attributor.generate(PROMPTS[0], 100000)
