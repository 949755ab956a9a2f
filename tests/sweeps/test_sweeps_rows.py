"""What a sweep writes is what `attribute` says of each prompt alone."""

import numpy as np
import pandas as pd
import pytest
import torch
from dictionaries import RandomFeatures
from sweep_subjects import assert_as_alone, assert_near, attributor, by_heads, frame

import dla
import dla.demo

DECOMPOSERS = (
    dla.HeadDecomposer(),
    dla.LayerDecomposer(),
    dla.LensDecomposer(),
    dla.NeuronDecomposer(),
    dla.BiasDecomposer(),
    dla.GroupDecomposer(dla.HeadDecomposer(), {"the first block": lambda label: label.layer == 0}),
    dla.GroupDecomposer(dla.SourceDecomposer(), {"all sources": lambda label: label.kind == "source"}),
    dla.GroupDecomposer(dla.NeuronDecomposer(), {"neurons": lambda label: label.kind == "neuron"}),
    RandomFeatures(),
)


@pytest.mark.parametrize("decomposer", DECOMPOSERS, ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("compared", [True, False], ids=["differences", "logits"])
def test_each_row_is_that_of_the_prompt_alone(decomposer, compared, tmp_path):
    corpus = frame(14) if compared else frame(4).drop(columns="incorrect")
    by = attributor(decomposer)
    assert_as_alone(dla.sweep(corpus, by, tmp_path, batch_tokens=80), by, corpus)


def test_a_position_asks_at_that_token(heads, tmp_path):
    corpus = frame(6).assign(position=[None, 3, -1, -4, 0, 7])
    assert_as_alone(dla.sweep(corpus, heads, tmp_path), heads, corpus)


def test_tokens_may_be_ids(heads, tmp_path):
    ids = {name: heads.model.vocabulary.token(name) for name in (" Mary", " John")}
    prompt = "Then , Mary and John had a talk at the park . Later John handed the ring to"
    corpus = pd.DataFrame(
        {"prompt": [prompt] * 2, "answer": [" Mary", ids[" Mary"]], "incorrect": [" John", ids[" John"]]}
    )
    (shard,) = dla.sweep(corpus, heads, tmp_path).shards()
    allowed = shard.prompts["tolerance"].max()
    np.testing.assert_allclose(shard.values[0], shard.values[1], rtol=0, atol=allowed)


def test_a_model_in_double_precision_keeps_its_digits(tmp_path):
    folder = dla.sweep(frame(3), by_heads(dla.demo.load_small("raw").to(torch.float64)), tmp_path)
    (shard,) = folder.shards()
    assert shard.values.dtype == np.float64
    assert folder.manifest["model"]["dtype"] == "float64"
    assert shard.prompts["gap"].abs().max() < 1e-12


def test_the_manifest_says_where_the_numbers_come_from(heads, tmp_path):
    folder = dla.sweep(frame(5), heads, tmp_path, limit=4)
    told = folder.manifest
    assert told["format"] == "dla.sweep/5"
    assert told["direction"] == "logit of answer - logit of incorrect"
    assert told["decomposer"] == "HeadDecomposer(layers=None)"
    assert (told["row_kind"], told["complete"]) == ("additive", True)
    assert told["corpus"]["rows"] == 5
    assert told["settings"]["limit"] == 4
    assert told["versions"]["dla"] == dla.__version__
    assert told["counts"]["prompts"] == 4
    assert told["columns"] == ["prompt", "answer", "incorrect", "template", "order"] == folder.columns
    head = next(part for part in folder.parts if part.label == "L1H2")
    assert (head.kind, head.layer, head.index, head.head) == ("head", 1, 2, 2)


def test_a_trajectory_says_so(tmp_path):
    folder = dla.sweep(frame(2), attributor(dla.LayerDecomposer()), tmp_path)
    assert folder.manifest["row_kind"] == "cumulative"


@pytest.mark.parametrize(
    ("decomposer", "message"),
    [
        (dla.SourceDecomposer(), "The rows of SourceDecomposer differ from prompt to prompt. .* use HeadDecomposer"),
        (dla.NeuronDecomposer(top_k=3), "The rows of NeuronDecomposer are chosen by their numbers.* leave top_k out"),
        (dla.HeadDecomposer() | dla.NeuronDecomposer(top_k=2), "are chosen by their numbers.*GroupDecomposer"),
    ],
    ids=["sources", "strongest neurons", "mixed with strongest neurons"],
)
def test_parts_that_depend_on_the_prompts_are_refused(decomposer, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        dla.sweep(frame(2), attributor(decomposer), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_windows_and_batches_only_change_rounding(heads, tmp_path):
    small = dla.sweep(frame(40), heads, tmp_path / "small", window=7, batch_tokens=40)
    large = dla.sweep(frame(40), heads, tmp_path / "large")
    assert len(list(small.shards())) > len(list(large.shards()))
    assert_near(small, large)


def test_a_batch_has_at_most_so_many_tokens(heads, tmp_path):
    folder = dla.sweep(frame(60), heads, tmp_path, batch_tokens=100)
    sizes = [(len(shard.prompts), shard.prompts["tokens"].max()) for shard in folder.shards()]
    assert all(count * longest <= 100 for count, longest in sizes)
    assert max(count for count, _ in sizes) > 1


def test_a_long_prompt_is_a_batch_of_its_own(heads, tmp_path):
    folder = dla.sweep(frame(5), heads, tmp_path, batch_tokens=3)
    assert [len(shard.prompts) for shard in folder.shards()] == [1] * 5
