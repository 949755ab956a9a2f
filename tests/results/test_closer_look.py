"""The writer's view of a part, and the logit lens."""

import copy
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from assertions import assert_identical
from subjects import DECOMPOSERS, GPT2, LLAMA, each_of_a_few, some_tokens

import dla
from dla.adapters import Anatomy
from dla.testing import AlteredAdapter, TinyModel
from dla.testing.assertions import assert_close
from dla.testing.laws.compare import sum_size
from dla.testing.models import VOCABULARY_SIZE

ADDED = [decomposer for decomposer in DECOMPOSERS if decomposer.row_kind is dla.RowKind.ADDITIVE]


@each_of_a_few
@pytest.mark.parametrize("decomposer", ADDED, ids=lambda d: type(d).__name__)
def test_the_vectors_of_all_parts_add_up_to_the_stream(subject: TinyModel, decomposer: dla.Decomposer) -> None:
    model, tokens = subject.model(), some_tokens(1, batch=1, width=3)
    result = dla.Attributor(model, decomposer).attribute(tokens, dla.Logit(5), pos=[0, 2])
    few = result.group_by("component")
    total = torch.stack([few.part(label).vector() for label in few.labels]).sum(0)
    with torch.no_grad():
        stream = model.run_with_cache(tokens)[1][f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"][:, [0, 2]]
    if subject.name != "granite-biases":  # where constants multiply what was written before
        size = stream.abs().max() * len(result.labels)
        assert_close(total, stream, size, subject.eps, "the stream")


@each_of_a_few
def test_what_a_part_does_to_a_token_is_what_the_tokens_logit_gives_it(subject: TinyModel) -> None:
    attributor = dla.Attributor(subject.model(), dla.HeadDecomposer())
    result = attributor.attribute(some_tokens(2), dla.Logit(9), pos=None)
    vocabulary = attributor.model.vocabulary
    effects = result.part("L1H0").top_tokens(3)
    assert [value for _, value in effects.up] == sorted((v for _, v in effects.up), reverse=True)
    for text, value in (*effects.up, *effects.down):
        token = int(text) if vocabulary.decode is None else vocabulary.token(text)
        asked = attributor.attribute(some_tokens(2), dla.Logit(token), pos=None)
        expected = asked.select("L1H0").values.mean()
        assert_close(torch.tensor(value), expected, sum_size(asked).mean(), subject.eps, text)


def test_a_multiplier_of_what_is_unembedded_counts_for_what_a_part_pushes() -> None:
    """A final norm twice as large, of which half is unembedded, is the same model."""

    def halved(anatomy: Anatomy) -> Anatomy:
        unembedding = anatomy.unembedding
        assert unembedding.norm is not None
        assert unembedding.norm.weight is not None
        assert unembedding.norm.bias is not None
        norm = replace(unembedding.norm, weight=2 * unembedding.norm.weight, bias=2 * unembedding.norm.bias)
        return replace(anatomy, unembedding=replace(unembedding, norm=norm, multiplier=0.5))

    found, expected = (
        dla.Attributor(model, dla.HeadDecomposer()).attribute(some_tokens(2), dla.Logit(9)).part("L1H0").top_tokens(3)
        for model in (AlteredAdapter(GPT2.model(), halved), GPT2.model())
    )
    for side in ("up", "down"):
        assert [token for token, _ in getattr(found, side)] == [token for token, _ in getattr(expected, side)]
        values = [[value for _, value in getattr(effects, side)] for effects in (found, expected)]
        assert values[0] == pytest.approx(values[1], rel=1e-4)


@each_of_a_few
def test_a_row_of_a_lens_pushes_a_token_as_the_tokens_logit_says(subject: TinyModel) -> None:
    """Each prompt and position has a scale of its own in every row of a lens; the mean is of the values."""
    attributor = dla.Attributor(subject.model(), dla.LensDecomposer())
    tokens = some_tokens(2, 3)
    for pos in (-1, [0, 3]):
        result = attributor.attribute(tokens, dla.Logit(9), pos=pos)
        every = attributor.attribute(tokens, [dla.Logit(token) for token in range(VOCABULARY_SIZE)], pos=pos)
        for label in (result.labels[0], result.labels[-2], "final_post"):
            rows = every.select(label).values[0].flatten(1).mean(1)
            up, down = (rows.topk(2, largest=largest).values for largest in (True, False))
            effects = result.part(label).top_tokens(2)
            size = sum_size(every).amax()
            assert_close(torch.tensor([value for _, value in effects.up]), up, size, subject.eps, label)
            assert_close(torch.tensor([value for _, value in effects.down]), down, size, subject.eps, label)


def test_a_copy_asks_the_same_model_and_a_pickle_none() -> None:
    attributor = dla.Attributor(GPT2.model(), dla.SourceDecomposer())
    result = attributor.attribute("Mary John gave", {"a": dla.Logit(5), "b": dla.Logit(6)}, pos=None)
    for whole in (result, result.direction("a"), result.group_by("parent").select(kind="head")):
        for again in (copy.copy(whole), copy.deepcopy(whole)):
            assert again.rerun is whole.rerun
            assert_identical(again, whole)
        restored = pickle.loads(pickle.dumps(whole))
        assert_identical(restored, whole)
        assert len(pickle.dumps(whole)) < 100_000
        assert restored.rerun is None
        assert [str(part.parent) for part in restored.parts] == [str(part.parent) for part in whole.parts]
    part = result.direction("a").part("L1H1 <- 1")
    torch.testing.assert_close(copy.deepcopy(part).vector(), part.vector())
    restored = pickle.loads(pickle.dumps(part))
    assert (restored.label, restored.rerun) == (part.label, None)
    with pytest.raises(ValueError, match=r"the model is run again, and this result was read from a file or a pickle"):
        restored.vector()
    with pytest.raises(ValueError, match=r"refine runs the model again, and this result .* or a pickle"):
        pickle.loads(pickle.dumps(result)).refine("0_mlp_out", by=dla.NeuronDecomposer())


def test_a_piece_of_a_refined_and_of_a_grouped_result_has_its_vector() -> None:
    whole = dla.Attributor(GPT2.model(), dla.ComponentDecomposer()).attribute(some_tokens(1), dla.Logit(5))
    fine = whole.refine("1_attn_out", by=dla.HeadDecomposer()).refine("L1H1", by=dla.SourceDecomposer())
    pieces = [label for label in fine.labels if label.startswith("L1H1 ← ")]
    together = torch.stack([fine.part(label).vector() for label in pieces]).sum(0)
    head = fine.group_by("parent").part("L1H1").vector()
    assert_close(together, head, head.abs().max() * len(pieces), GPT2.eps, "L1H1")
    assert_close(
        fine.group_by("layer").part("layer 1").vector() @ torch.ones(head.shape[-1]) * 0, torch.zeros(2, 1), 1.0, 1.0
    )


def test_arrows_and_tokens_need_not_be_typed() -> None:
    result = dla.Attributor(GPT2.model(), dla.SourceDecomposer()).attribute("Mary John gave", dla.Logit(5))
    assert str(result.part("L1H1 <- 1").label).startswith("L1H1 ← 1 ")
    assert str(result.part("L1H1 ← 1").label) == str(result.part("L1H1 <- 1").label)


def test_a_result_from_a_file_cannot_be_looked_at_more_closely(tmp_path: Any) -> None:
    result = dla.Attributor(GPT2.model(), dla.SourceDecomposer()).attribute(some_tokens(1), dla.Logit(5))
    result.save(tmp_path / "x.nc")
    again = dla.load(tmp_path / "x.nc")
    assert again.labels == result.labels
    assert [str(x.parent) for x in again.parts] == [str(x.parent) for x in result.parts]
    assert again.group_by("component").labels == result.group_by("component").labels
    with pytest.raises(ValueError, match=r"refine runs the model again, and this result was read from a file"):
        again.refine("0_mlp_out", by=dla.NeuronDecomposer())
    with pytest.raises(ValueError, match=r"'0_mlp_out' writes the model is run again, and this result was read from"):
        again.part("0_mlp_out").top_tokens()


def test_tokens_are_not_pushed_before_the_end_of_the_stream() -> None:
    vector = dla.ResidualVector(torch.randn(LLAMA.model().cfg.d_model), at="blocks.0.hook_resid_post")
    result = dla.Attributor(LLAMA.model(), dla.HeadDecomposer()).attribute(some_tokens(1), vector)
    with pytest.raises(ValueError, match=r"'blocks\.0\.hook_resid_post' is not read by the unembedding\. Ask about"):
        result.part("L0H0").top_tokens()


@each_of_a_few
def test_the_lens_is_the_final_norm_and_unembedding_at_each_place(subject: TinyModel) -> None:
    model, tokens = subject.model(), some_tokens(3)
    result = dla.Attributor(model, dla.LensDecomposer()).attribute(tokens, dla.Logit(5), pos=None)
    with torch.no_grad():
        cache = model.run_with_cache(tokens)[1]
        for row, name in (("0_pre", "blocks.0.hook_resid_pre"), ("1_pre", "blocks.1.hook_resid_pre")):
            stream = cache[name]
            if subject.name == "granite-biases":
                continue  # its embedding is multiplied on the way in, which differs between lines
            norm = getattr(model, "ln_final", None)
            expected = model.unembed(stream if norm is None else norm(stream))[..., 5]
            size = sum_size(result) + expected.abs()
            assert_close(result.select(row).values[0] + result.constant, expected, size, 4 * subject.eps, row)
    assert_close(result.values[-1] + result.constant, result.logit, sum_size(result), subject.eps, "the last row")


def test_only_the_frozen_lens_adds_up() -> None:
    tokens = some_tokens(4)
    frozen, recomputed = (
        dla.Attributor(GPT2.model(), d).attribute(tokens, dla.Logit(5))
        for d in (dla.LayerDecomposer(), dla.LensDecomposer())
    )
    sublayers = dla.Attributor(GPT2.model(), dla.ComponentDecomposer()).attribute(tokens, dla.Logit(5))
    attention = sublayers.select("0_attn_out").values[0]
    steps = [r.select("0_mid").values[0] - r.select("0_pre").values[0] for r in (frozen, recomputed)]
    assert_close(steps[0], attention, sum_size(sublayers), GPT2.eps, "a frozen step")
    assert bool(((steps[1] - attention).abs() > 1e-3).any())
    with pytest.raises(ValueError, match=r"The rows of a lens do not add up, so there is no gap to explain"):
        dla.Attributor(GPT2.model(), dla.LensDecomposer()).explain_gap(tokens, dla.Logit(5))
