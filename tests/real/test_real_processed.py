"""The same rows where TransformerLens has rewritten the weights: compatibility mode, and HookedTransformer.

Folding a norm into the weights that read it, and centring the unembedding, leave the rows of a difference as they
are. A single logit becomes the logit minus the mean of all.
"""

import gc

import pytest
import real_by_hand as by_hand
import torch
from real_assertions import assert_near, assert_rows
from real_models import EIFFEL, UNEQUAL, difference, prompts, token
from subjects import needs_hooked_transformer

import dla
import dla.demo

pytestmark = pytest.mark.slow

WITHIN = 2e-4
"""In logits: the weights were multiplied in float32, and run as other numbers than Hugging Face's."""

DECOMPOSERS = {
    "components": (dla.ComponentDecomposer(), by_hand.components),
    "heads": (dla.HeadDecomposer(), by_hand.heads),
    "sources": (dla.SourceDecomposer(), by_hand.sources),
    "neurons": (dla.NeuronDecomposer(), by_hand.neurons),
    "lens": (dla.LensDecomposer(), by_hand.lens),
}


@pytest.fixture(
    scope="module", params=["bridge", pytest.param("hooked", marks=needs_hooked_transformer)], ids=lambda kind: kind
)
def model(request):
    """The model, let go of after the last test that wants it."""
    yield dla.demo.load_smollm2(request.param)
    gc.collect()


@pytest.fixture(scope="module")
def processed(model):
    """The model, looked at once."""
    return dla.adapt(model)


def without_empty_biases(result):
    """HookedTransformer has biases where a Llama has none; they write nothing."""
    empty = [part.kind in ("b_O", "b_out") for part in result.parts]
    assert bool((result.values[torch.tensor(empty)].nan_to_num() == 0).all())
    return result.select(where=lambda part: part.kind not in ("b_O", "b_out"))


@pytest.mark.parametrize("name", DECOMPOSERS)
def test_the_rows_of_a_difference_are_those_of_hugging_faces_modules(name, processed):
    decomposer, decompose = DECOMPOSERS[name]
    result = dla.Attributor(processed, decomposer).attribute(prompts(UNEQUAL), difference(UNEQUAL), pos=None)
    expected = []
    for row, fact in enumerate(UNEQUAL):
        run = by_hand.run_of(fact.prompt)
        reading = run.reading({token(fact.answer): 1.0, token(fact.incorrect): -1.0})
        expected.append(decompose(run, run.direction(reading)))
        own = run.logits[:, token(fact.answer)] - run.logits[:, token(fact.incorrect)]
        assert_near(result.logit[row, : len(own)], own, WITHIN)
    assert_rows(without_empty_biases(result), expected, WITHIN)


def test_a_logit_is_the_centred_one(processed):
    attributor = dla.Attributor(processed, dla.HeadDecomposer())
    result = attributor.attribute(EIFFEL.prompt, dla.Logit(EIFFEL.answer), pos=None)
    run = by_hand.run_of(EIFFEL.prompt)
    reading = run.reading({token(EIFFEL.answer): 1.0}) - run.weights.lm_head.double().mean(0)
    assert_rows(without_empty_biases(result), [by_hand.heads(run, run.direction(reading))], WITHIN)
    assert_near(result.logit[0], run.logits[:, token(EIFFEL.answer)] - run.logits.mean(-1), WITHIN)


@pytest.mark.parametrize("direction", [dla.LogProbability(" Paris"), dla.CentredLogit(" Paris")], ids=["log p", "mean"])
def test_what_centring_leaves_alone_is_as_it_was(direction, processed):
    run = by_hand.run_of(EIFFEL.prompt)
    logits = run.logits.double()
    p = torch.full_like(logits, 1 / logits.shape[-1]) if isinstance(direction, dla.CentredLogit) else logits.softmax(-1)
    result = dla.Attributor(processed, dla.HeadDecomposer()).attribute(EIFFEL.prompt, direction, pos=None)
    assert_near(result.logit[0], logits[:, token(" Paris")] - (p * logits).sum(-1), WITHIN)
    read = run.reading({token(" Paris"): 1.0}) - p @ run.weights.lm_head.double()
    assert_rows(without_empty_biases(result), [by_hand.heads(run, run.direction(read))], WITHIN)


def test_the_drop_in_function_has_the_same_rows(model):
    result = dla.direct_logit_attribution(model, EIFFEL.prompt, EIFFEL.answer, EIFFEL.incorrect, unit="head")
    run = by_hand.run_of(EIFFEL.prompt)
    reading = run.reading({token(EIFFEL.answer): 1.0, token(EIFFEL.incorrect): -1.0})
    d = run.direction(reading)
    rows = by_hand.heads_alone(run, d)
    rows["remainder"] = sum((by_hand.embedding(run, d) | by_hand.mlps(run, d)).values())
    assert set(result.labels) == set(rows)
    wanted = torch.stack([rows[label][-1] for label in result.labels])
    assert_near(result.attribution[:, 0], wanted, WITHIN)
