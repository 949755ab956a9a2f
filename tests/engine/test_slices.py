"""Logits are made a few positions at a time: nothing changes but the memory that it takes."""

from typing import Any

import pytest
import torch
from subjects import GPT2, each_of_a_few, some_ids, some_tokens
from torch import Tensor

import dla
import dla.engine.forward
from dla.testing import TinyModel, assert_attributions_equal

IDS = some_ids(0, 2, 6)
QUESTIONS: dict[str, tuple[Any, Any]] = {
    "all positions": (dla.LogitDifference(IDS, IDS.flip(0)), None),
    "one token for all": (dla.Logit(7), slice(1, None)),
    "some positions": (dla.Logit(IDS[:, :3]), [1, 4, 5]),
    "several directions": ({"a": dla.Logit(IDS), "b": dla.CentredLogit(3)}, None),
    "log-probability": (dla.LogProbability(5), None),
    "a vector": (dla.Logit(IDS[:, 0]) + dla.ResidualVector(torch.ones(32)), None),
    "more positions than there are": (dla.Logit(9), [0, 0, 1, 1, 2, 2, 3, 3]),
}


def attribute(subject: TinyModel, question: str) -> dla.Attribution:
    direction, pos = QUESTIONS[question]
    return dla.Attributor(subject.model(), dla.HeadDecomposer()).attribute(some_tokens(3), direction, pos=pos)


@each_of_a_few
@pytest.mark.parametrize("question", QUESTIONS)
def test_slices_change_nothing(subject: TinyModel, question: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = attribute(subject, question)
    monkeypatch.setattr(dla.engine.forward, "SLICE_ON_CPU", 1)
    sliced = attribute(subject, question)
    assert_attributions_equal(sliced, whole, eps=subject.eps)
    torch.testing.assert_close(sliced.output_logit, whole.output_logit)
    torch.testing.assert_close(sliced.tolerance, whole.tolerance)


def test_logits_of_all_positions_never_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dla.engine.forward, "SLICE_ON_CPU", 1)
    model, seen = GPT2.fresh(), []

    def see(logits: Tensor) -> Tensor:
        seen.append(logits.shape[1])
        return logits

    attributor = dla.Attributor(model, dla.ComponentDecomposer())
    monkeypatch.setattr(model.unembed.hook_out, "forward", see)  # a hook of the user's would see them all
    attributor.attribute(some_tokens(3), dla.Logit(IDS), pos=None)
    assert seen == [1] * 6


def test_an_edit_of_the_logits_is_seen_at_every_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dla.engine.forward, "SLICE_ON_CPU", 1)
    model = GPT2.fresh()
    attributor = dla.Attributor(model, dla.ComponentDecomposer(), check="warn")
    model.add_hook("unembed.hook_out", lambda logits, hook: logits + 1)
    with pytest.warns(dla.ReconstructionWarning):
        result = attributor.attribute(some_tokens(3), dla.Logit(IDS), pos=None)
    torch.testing.assert_close(result.gap, torch.ones(2, 6), atol=1e-4, rtol=0)
