"""Logits from columns of `W_U`, where the model unembeds only a sample: the same numbers, the same mistakes caught."""

from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mutants.altered import AlteredDecomposer, with_readout, without
from subjects import GPT2, each_of_a_few, some_ids, some_tokens
from torch import Tensor

import dla
from dla.adapters import adapt
from dla.engine.sampling import EVERY, sample_of
from dla.inputs import Positions
from dla.testing import AlteredAdapter, TinyModel, assert_attributions_equal
from dla.testing.models import architecture

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


def attribute(model: Any, question: str, unembed: Any) -> tuple[dla.Attribution, dla.Attribution]:
    """The first result of an attributor, and the second."""
    direction, pos = QUESTIONS[question]
    attributor = dla.Attributor(model, dla.HeadDecomposer(), unembed=unembed)
    return attributor.attribute(TOKENS, direction, pos=pos), attributor.attribute(TOKENS, direction, pos=pos)


@each_of_a_few
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_sample_gives_what_all_logits_give(subject: TinyModel, question: str) -> None:
    _, whole = attribute(subject.model(), question, "all")
    for sampled in attribute(subject.model(), question, "sample"):
        assert_attributions_equal(sampled, whole, eps=subject.eps)
        torch.testing.assert_close(sampled.output_logit, whole.output_logit, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(sampled.tolerance, whole.tolerance, rtol=1e-3, atol=0)


def test_every_position_is_unembedded_once_and_then_one_in_sixteen() -> None:
    seen: list[int] = []

    def show(name: str, activation: Tensor) -> Tensor:
        if name == "unembed.hook_out":
            seen.append(activation.shape[1])
        return activation

    attribute(AlteredAdapter(GPT2.model(), show=show), "one token for all", "sample")
    assert seen == [18, 2]


@pytest.mark.parametrize(
    "alter",
    [
        lambda anatomy: with_readout(W_U=anatomy.unembedding.W_U.roll(1, dims=-1))(anatomy),
        lambda anatomy: with_readout(W_U=1.001 * anatomy.unembedding.W_U)(anatomy),
        with_readout(b_U=torch.ones(GPT2.model().cfg.d_vocab)),
    ],
    ids=["shifted", "a thousandth too large", "a bias that is none"],
)
def test_other_columns_are_caught(alter: Any) -> None:
    adapter = AlteredAdapter(GPT2.model(), alter)
    with pytest.raises(dla.ReconstructionError, match=r"columns of W_U .* miss the model's own .* Pass unembed='all'"):
        attribute(adapter, "a difference at each position", "sample")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_every_call_gives_the_models_own_logit_and_can_be_looked_at(dtype: torch.dtype) -> None:
    """In half precision the model rounds each logit, and the columns do not: both calls must give what it gives."""
    model = architecture("llama-biases").bridge("raw", dtype=dtype)
    attributor = dla.Attributor(model, dla.HeadDecomposer())
    with torch.no_grad():
        own = model(TOKENS)[..., 7].float()
    for result in (attributor.attribute(TOKENS, dla.Logit(7), pos=None) for _ in range(2)):
        torch.testing.assert_close(result.logit, own, rtol=0, atol=1e-5)
        result.part("L1H1").vector()
        result.refine("L1H1", by=dla.SourceDecomposer())


def test_other_columns_are_caught_on_the_sample_of_a_later_call() -> None:
    W_U = adapt(GPT2.model()).anatomy.unembedding.W_U.clone()
    W_U[:, 7] *= 1.001
    adapter = AlteredAdapter(GPT2.model(), with_readout(W_U=W_U))
    attributor = dla.Attributor(adapter, dla.HeadDecomposer())
    attributor.attribute(TOKENS, dla.Logit(3), pos=None)
    with pytest.raises(dla.ReconstructionError, match=r"columns of W_U .* miss the model's own"):
        attributor.attribute(TOKENS, dla.Logit(7), pos=None)


@given(st.integers(1, 5), st.integers(1, 60), st.randoms(use_true_random=False))
def test_each_prompt_that_has_a_position_has_one_in_the_sample(batch: int, width: int, random: Random) -> None:
    valid = torch.tensor([[random.random() < 0.1 for _ in range(width)] for _ in range(batch)])
    sample = sample_of(Positions(torch.zeros(batch, width, dtype=torch.long), valid, single=False, everything=False))
    assert set(range(0, width, EVERY)) <= set(sample.tolist()) <= set(range(width))
    assert bool((valid[:, sample].any(1) == valid.any(1)).all())
    assert len(sample) <= -(-width // EVERY) + batch


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
