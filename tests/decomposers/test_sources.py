"""Heads by the token that they read, against patterns and values that were multiplied by hand."""

from typing import Any

import pytest
import torch
from subjects import GPT2, LLAMA, each_of_a_few, params, some_ids, some_tokens
from torch import Tensor

import dla
from dla.testing import TinyModel, assert_attributions_equal
from dla.testing.assertions import assert_close

SINKS = TinyModel("gpt_oss")


def cached(model: Any, tokens: Tensor) -> dict[str, Tensor]:
    """What every hook showed, without a line of the library."""
    with torch.no_grad():
        return dict(model.run_with_cache(tokens)[1])


def heads_of(result: dla.Attribution) -> dict[str, Tensor]:
    """The rows of each head, added up."""
    found: dict[str, Tensor] = {}
    for part, values in zip(result.parts, result.values, strict=True):
        if part.kind in ("source", "b_V"):
            name = str(part.parent)
            found[name] = found.get(name, torch.zeros(())) + values
    return found


@each_of_a_few
def test_sources_and_the_value_bias_add_up_to_their_head(subject: TinyModel) -> None:
    tokens, direction = some_tokens(1), dla.Logit(some_ids(1, 2, 6))
    heads = dla.Attributor(subject.model(), dla.HeadDecomposer()).attribute(tokens, direction, pos=None)
    sources = dla.Attributor(subject.model(), dla.SourceDecomposer()).attribute(tokens, direction, pos=None)
    added, size = heads_of(sources), sources.values.abs().sum(0)
    expected = {str(p): v for p, v in zip(heads.parts, heads.values, strict=True) if p.kind == "head"}
    assert added.keys() == expected.keys()
    assert added
    for name, values in expected.items():
        assert_close(added[name], values, size, subject.eps, name)


@pytest.mark.parametrize("subject", params([GPT2, LLAMA, SINKS, TinyModel("gpt2", processed=True)]))
def test_each_source_is_pattern_times_value_times_output_weights(subject: TinyModel) -> None:
    model, tokens = subject.model(), some_tokens(2)
    cache, layer = cached(model, tokens), 1
    vector = torch.randn(model.cfg.d_model)
    end = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    result = dla.Attributor(model, dla.SourceDecomposer()).attribute(tokens, dla.ResidualVector(vector, at=end))
    attn = model.blocks[layer].attn
    v, pattern = cache[f"blocks.{layer}.attn.hook_v"], cache[f"blocks.{layer}.attn.hook_pattern"]
    W_O = attn.W_O.detach()
    v = v.reshape(*v.shape[:2], -1, W_O.shape[1])
    share = W_O.shape[0] // v.shape[2]
    bias = getattr(attn, "b_V", None)
    bias = torch.zeros(W_O.shape[0], W_O.shape[1]) if bias is None else bias.detach().reshape(-1, W_O.shape[1])
    bias = bias.repeat_interleave(W_O.shape[0] // len(bias), 0)
    for head in range(W_O.shape[0]):
        for source in range(tokens.shape[1]):
            carried = v[:, source, head // share] - bias[head]
            expected = pattern[:, head, -1, source] * (carried @ W_O[head] @ vector)
            (label,) = [x for x in result.labels if x.startswith(f"L{layer}H{head} ← {source}")]
            row = result.select(label).values[0]
            assert_close(row, expected, expected.abs() + result.values.abs().mean(), subject.eps, label)


def test_a_pattern_with_sinks_carries_less_than_the_whole_value_bias() -> None:
    model, tokens = SINKS.model(), some_tokens(3)
    patterns = cached(model, tokens)["blocks.0.attn.hook_pattern"]
    assert bool((patterns.sum(-1) < 0.999).any())


def test_tokens_are_named_where_all_prompts_agree() -> None:
    attributor = dla.Attributor(GPT2.model(), dla.SourceDecomposer(layers=[1]))
    tokens = some_tokens(4)
    tokens[1, :3] = tokens[0, :3]
    tokens[1, 3:] = (tokens[0, 3:] + 1).clamp(max=30)
    labels = [p for p in attributor.attribute(tokens, dla.Logit(5)).parts if p.kind == "source" and p.index == 0]
    assert [label.source for label in labels] == list(range(6))
    assert [str(label)[len("L1H0 ← 0") :] != "" for label in labels] == [True] * 3 + [False] * 3
    alone = attributor.attribute(tokens[0], dla.Logit(5))
    assert all("'" in str(p) or '"' in str(p) for p in alone.parts if p.kind == "source")


def test_a_token_after_the_position_is_not_read() -> None:
    result = dla.Attributor(LLAMA.model(), dla.SourceDecomposer()).attribute(some_tokens(5), dla.Logit(5), pos=2)
    later = result.select(where=lambda label: label.source is not None and label.source > 2)
    assert bool((later.values == 0).all())
    assert bool((result.select(where=lambda label: label.source == 1).values != 0).all())


def test_prompts_of_unequal_lengths_have_the_rows_that_they_have_alone() -> None:
    attributor = dla.Attributor(GPT2.model(), dla.SourceDecomposer())
    long, short = "Mary John gave the book to", "John gave to"
    both = attributor.attribute([long, short], dla.Logit(5))
    alone = attributor.attribute(short, dla.Logit(5))
    here = {(p.kind, p.layer, p.index, p.source): v[1] for p, v in zip(both.parts, both.values, strict=True)}
    there = {(p.kind, p.layer, p.index, p.source): v[0] for p, v in zip(alone.parts, alone.values, strict=True)}
    size = alone.values.abs().sum()
    for key, value in there.items():
        assert_close(here[key], value, size, GPT2.eps, str(key))
    assert all(bool(here[key] == 0) for key in here.keys() - there.keys())


@pytest.mark.parametrize(("layers", "error"), [([9], "There is no layer 9; the model has layers 0 to 1"), ([-1], "-1")])
def test_layers_that_are_not_there(layers: list[int], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        dla.Attributor(GPT2.model(), dla.SourceDecomposer(layers=layers))


def test_a_layer_without_heads_cannot_be_named() -> None:
    model = TinyModel("mamba").model()
    with pytest.raises(
        dla.UnsupportedModelError, match=r"Layer 0 has no sources of attention heads .* Leave it out of `layers`"
    ):
        dla.Attributor(model, dla.SourceDecomposer(layers=[0]))


@pytest.mark.parametrize("subject", params([GPT2, LLAMA]))
@pytest.mark.parametrize("direction", [dla.Logit(7), dla.Logit(some_ids(5, 2, 6))], ids=["one", "each"])
def test_positions_in_turn_change_nothing(
    subject: TinyModel, direction: dla.Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    attributor = dla.Attributor(subject.model(), dla.SourceDecomposer())
    at_once = attributor.attribute(some_tokens(5), direction, pos=None)
    monkeypatch.setattr("dla.writes.sources._AT_A_TIME", 1)
    in_turn = attributor.attribute(some_tokens(5), direction, pos=None)
    assert_attributions_equal(in_turn, at_once, eps=subject.eps)


def test_rows_that_are_known_with_the_prompts_are_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is filled as the model runs; nothing is put together afterwards."""
    attributor = dla.Attributor(GPT2.model(), dla.SourceDecomposer())
    monkeypatch.setattr("dla.decomposers.plans.Plan.merged", None)
    assert len(attributor.attribute(some_tokens(5), dla.Logit(7), pos=None).labels) > 40


def test_sources_are_added_up_over_heads() -> None:
    """Every row of a position goes into one, which can be refined; what reads no position stays."""
    result = dla.Attributor(GPT2.model(), dla.SourceDecomposer()).attribute(some_tokens(3, 1), dla.Logit(9))
    coarse = result.group_by("source")
    for s in range(6):
        (row,) = [i for i, part in enumerate(coarse.parts) if part.source == s]
        own = [i for i, part in enumerate(result.parts) if part.source == s]
        assert len(own) > 1
        assert coarse.labels[row].startswith(f"← {s}")
        torch.testing.assert_close(coarse.values[row], result.values[own].sum(0), rtol=0, atol=1e-5)
    torch.testing.assert_close(coarse.values.sum(0), result.total, rtol=0, atol=1e-5)
    assert coarse.part(coarse.labels[-1]).vector().shape == (1, 1, GPT2.model().cfg.d_model)
