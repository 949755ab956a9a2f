"""Prompts of unequal length, padded on either side, with and without BOS: each row is that of the prompt alone."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from zoo_models import bridged

import dla

PROMPTS = ("Mary and John went to the store", "Bob gave", "When Alice saw the cat , she said", "Then Tom had a ball .")
FAMILIES = ("gpt2", "bloom", "gemma2", "mixtral", "mamba2", "jamba")
"""Learned positions, ALiBi, post-norms, experts, a state space, a hybrid."""

each_family = pytest.mark.parametrize("name", FAMILIES)
each_side = pytest.mark.parametrize("side", ["left", "right"])
each_bos = pytest.mark.parametrize("bos", [True, False], ids=["with-bos", "without-bos"])


@pytest.fixture
def padded(name: str, side: str) -> Iterator[Any]:
    """A bridge whose tokenizer pads on that side."""
    model = bridged(name)
    before = model.tokenizer.padding_side
    model.tokenizer.padding_side = side
    yield model
    model.tokenizer.padding_side = before


def assert_same_rows(batch: dla.Attribution, i: int, alone: dla.Attribution) -> None:
    """Prompt `i` of the batch has the rows that it has alone."""
    size = alone.values.abs().sum(0).max()
    for field in ("values", "constant", "logit", "output_logit"):
        together, single = getattr(batch, field)[..., i], getattr(alone, field)[..., 0]
        assert (together - single).abs().max() < 3e-6 * size, field


@each_family
@each_side
@each_bos
def test_a_prompt_in_a_batch_has_the_rows_that_it_has_alone(padded: Any, bos: bool) -> None:
    attributor = dla.Attributor(padded, dla.HeadDecomposer())
    batch = attributor.attribute(list(PROMPTS), dla.LogitDifference(" Mary", " John"), prepend_bos=bos)
    for i, prompt in enumerate(PROMPTS):
        alone = attributor.attribute(prompt, dla.LogitDifference(" Mary", " John"), prepend_bos=bos)
        assert alone.tokens == [batch.tokens[i]]
        assert (alone.tokens[0][0] == "<s>") == bos
        assert_same_rows(batch, i, alone)


@each_family
@each_side
def test_every_position_of_a_padded_prompt(padded: Any) -> None:
    attributor = dla.Attributor(padded, dla.ComponentDecomposer())
    batch = attributor.attribute(list(PROMPTS), dla.Logit(" Mary"), pos=None)
    for i, prompt in enumerate(PROMPTS):
        alone = attributor.attribute(prompt, dla.Logit(" Mary"), pos=None)
        width = alone.values.shape[-1]
        together = batch.values[:, i]
        assert (together[..., :width] - alone.values[:, 0]).abs().max() < 3e-6 * alone.values.abs().sum(0).max()
        assert bool(together[..., width:].isnan().all())


@pytest.mark.parametrize("name", FAMILIES)
@each_side
def test_ids_with_a_mask_are_the_prompts_without_padding(name: str, side: str) -> None:
    attributor = dla.Attributor(bridged(name), dla.HeadDecomposer())
    alone = [torch.tensor([9, 31, 12, 50, 7]), torch.tensor([44, 8])]
    pad = torch.full((3,), 2)
    short = torch.cat([pad, alone[1]]) if side == "left" else torch.cat([alone[1], pad])
    mask = torch.tensor([[1] * 5, [0, 0, 0, 1, 1] if side == "left" else [1, 1, 0, 0, 0]])
    batch = attributor.attribute(torch.stack([alone[0], short]), dla.Logit(5), attention_mask=mask)
    for i, ids in enumerate(alone):
        assert_same_rows(batch, i, attributor.attribute(ids, dla.Logit(5)))
