"""Logits from columns of `W_U`, where the model unembeds only a sample: the same numbers, the same mistakes caught."""

from typing import Any

import pytest
import torch
from mutants.altered import AlteredDecomposer, with_readout, without
from subjects import GPT2, each_of_a_few, some_ids, some_tokens
from torch import Tensor

import dla
from dla.testing import AlteredAdapter, TinyModel, assert_attributions_equal

WIDTH = 20
TOKENS, IDS = some_tokens(3, width=WIDTH), some_ids(0, 2, WIDTH)
QUESTIONS: dict[str, tuple[Any, Any]] = {
    "a difference at each position": (dla.LogitDifference(IDS, IDS.flip(0)), None),
    "one token for all": (dla.Logit(7), slice(2, None)),
    "a set, in other order": (dla.LogitSet([3, 9], weights=[1.0, -0.5]), list(range(WIDTH))[::-1]),
    "several directions": ({"a": dla.Logit(IDS), "b": dla.Logit(3)}, None),
    "a vector": (dla.Logit(IDS[:, 0]) + dla.ResidualVector(torch.ones(32)), None),
    "few positions": (dla.Logit(7), [1, 2]),
    "the whole vocabulary": (dla.LogProbability(5), None),
    "an earlier place": (dla.ResidualVector(torch.ones(32), at="blocks.0.hook_resid_post"), None),
}


def attribute(model: Any, question: str, unembed: Any) -> dla.Attribution:
    direction, pos = QUESTIONS[question]
    return dla.Attributor(model, dla.HeadDecomposer(), unembed=unembed).attribute(TOKENS, direction, pos=pos)


@each_of_a_few
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_sample_gives_what_all_logits_give(subject: TinyModel, question: str) -> None:
    whole, sampled = (attribute(subject.model(), question, unembed) for unembed in ("all", "sample"))
    assert_attributions_equal(sampled, whole, eps=subject.eps)
    torch.testing.assert_close(sampled.output_logit, whole.output_logit, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sampled.tolerance, whole.tolerance, rtol=1e-3, atol=0)


def test_one_position_in_sixteen_is_unembedded() -> None:
    seen: list[int] = []

    def show(name: str, activation: Tensor) -> Tensor:
        if name == "unembed.hook_out":
            seen.append(activation.shape[1])
        return activation

    attribute(AlteredAdapter(GPT2.model(), show=show), "one token for all", "sample")
    assert seen == [2]


@pytest.mark.parametrize(
    "alter",
    [
        lambda anatomy: with_readout(W_U=anatomy.unembedding.W_U.roll(1, -1))(anatomy),
        lambda anatomy: with_readout(W_U=1.001 * anatomy.unembedding.W_U)(anatomy),
        with_readout(b_U=torch.ones(GPT2.model().cfg.d_vocab)),
    ],
    ids=["shifted", "a thousandth too large", "a bias that is none"],
)
def test_other_columns_are_caught(alter: Any) -> None:
    adapter = AlteredAdapter(GPT2.model(), alter)
    with pytest.raises(dla.ReconstructionError, match=r"columns of W_U .* miss the model's own .* Pass unembed='all'"):
        attribute(adapter, "a difference at each position", "sample")


def test_a_forgotten_part_is_caught() -> None:
    decomposer = AlteredDecomposer(dla.HeadDecomposer(), without("b_O", 1))
    attributor = dla.Attributor(GPT2.model(), decomposer, unembed="sample")
    with pytest.raises(dla.ReconstructionError, match=r"parts of AlteredDecomposer miss the model's logit"):
        attributor.attribute(TOKENS, dla.Logit(IDS), pos=None)


def test_logits_that_a_hook_may_edit_are_all_looked_at() -> None:
    model = GPT2.fresh()
    attributor = dla.Attributor(model, dla.HeadDecomposer(), check="warn", unembed="sample")

    def edit(logits: Tensor, hook: Any) -> Tensor:
        return logits + (torch.arange(logits.shape[1]) == 5).to(logits)[:, None]

    model.add_hook("unembed.hook_out", edit)
    with pytest.warns(dla.ReconstructionWarning, match="position 5"):
        result = attributor.attribute(TOKENS, dla.Logit(IDS), pos=None)
    torch.testing.assert_close(result.gap[:, 5], torch.ones(2), atol=1e-4, rtol=0)
