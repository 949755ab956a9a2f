"""Every way to split the stream of a real model, row by row, against Hugging Face's own modules."""

import re
from functools import cache

import pytest
import real_by_hand as by_hand
import torch
from real_assertions import CLOSE, assert_near, assert_rows
from real_models import EIFFEL, FACTS, UNEQUAL, adapted, difference, prompts, raw, token

import dla

pytestmark = pytest.mark.slow

DECOMPOSERS = {
    "components": (dla.ComponentDecomposer(), by_hand.components),
    "blocks": (dla.BlockDecomposer(), by_hand.blocks),
    "embedding": (dla.EmbeddingDecomposer(), by_hand.embedding_and_blocks),
    "heads": (dla.HeadDecomposer(), by_hand.heads),
    "sources": (dla.SourceDecomposer(), by_hand.sources),
    "neurons": (dla.NeuronDecomposer(), by_hand.neurons),
    "heads and neurons": (dla.HeadDecomposer() | dla.NeuronDecomposer(), by_hand.heads_and_neurons),
    "biases": (dla.BiasDecomposer(), by_hand.without_biases),
    "layers": (dla.LayerDecomposer(), by_hand.layers),
    "lens": (dla.LensDecomposer(), by_hand.lens),
    "experts": (dla.ExpertDecomposer(), by_hand.components),
    "groups": (
        dla.GroupDecomposer(
            dla.HeadDecomposer(),
            {
                by_hand.FIRST_HEADS: lambda label: label.kind == "head" and label.layer == 0,
                by_hand.OTHER_HEADS: ["L23H4", "L23H1"],
                by_hand.LATE_MLPS: re.compile(r"2[4-9]_mlp_out"),
            },
        ),
        by_hand.groups,
    ),
}
each_decomposer = pytest.mark.parametrize("name", DECOMPOSERS)


def found(decompose, fact):
    """The rows of a logit difference, by hand."""
    run = by_hand.run_of(fact.prompt)
    reading = run.reading({token(fact.answer): 1.0, token(fact.incorrect): -1.0})
    return decompose(run, run.direction(reading))


@cache
def together(name):
    """Three prompts of unequal length at once."""
    attributor = dla.Attributor(adapted(), DECOMPOSERS[name][0])
    return attributor.attribute(prompts(UNEQUAL), difference(UNEQUAL), pos=None)


@each_decomposer
def test_the_rows_are_those_of_hugging_faces_modules(name):
    """By hand each prompt is run alone."""
    result, (_, decompose) = together(name), DECOMPOSERS[name]
    assert_rows(result, [found(decompose, fact) for fact in UNEQUAL])
    for row, fact in enumerate(UNEQUAL):
        logits = by_hand.run_of(fact.prompt).logits
        own = logits[:, token(fact.answer)] - logits[:, token(fact.incorrect)]
        assert_near(result.logit[row, : len(own)], own, CLOSE)
        assert_near((result.total + result.constant)[row, : len(own)], own, CLOSE)


@each_decomposer
def test_by_hand_the_rows_add_up(name):
    """What is compared with is right by itself: it adds up to the logits of the untouched model."""
    _, decompose = DECOMPOSERS[name]
    rows, logits = found(decompose, EIFFEL), by_hand.run_of(EIFFEL.prompt).logits.double()
    values = torch.stack(list(rows.values()))
    total = values[-1] if name in ("layers", "lens") else values.sum(0)
    assert_near(total, logits[:, token(EIFFEL.answer)] - logits[:, token(EIFFEL.incorrect)], CLOSE)


@pytest.mark.parametrize("name", ["heads", "sources", "neurons"])
def test_a_batch_has_the_rows_of_each_prompt_alone(name):
    result, attributor = together(name), dla.Attributor(adapted(), DECOMPOSERS[name][0])
    for row, fact in enumerate(UNEQUAL):
        alone = attributor.attribute(fact.prompt, difference((fact,)), pos=None)
        length = alone.values.shape[-1]
        own = [i for i, part in enumerate(result.parts) if part.source is None or part.source < length]
        assert [_key(result.parts[i]) for i in own] == [_key(part) for part in alone.parts]
        assert_near(result.values[own][:, row, :length], alone.values[:, 0], CLOSE)


def _key(part):
    return (part.kind, part.layer, part.index, part.source)


def test_the_strongest_head_reads_the_tower():
    """All twelve prompts are answered, and that Paris is the answer is written by a head that reads `iffel`."""
    attributor = dla.Attributor(adapted(), dla.HeadDecomposer())
    result = attributor.attribute(prompts(FACTS), difference(FACTS))
    assert bool((result.logit > 0).all())
    result = attributor.attribute(EIFFEL.prompt, difference((EIFFEL,)))
    ((head, value),) = result.select(kind="head").top(1)
    assert head == "L23H4"
    finer = result.refine(head, by=dla.SourceDecomposer(layers=[23])).select(kind="source")
    ((source, part),) = finer.top(1)
    assert source == "L23H4 ← 2 'iffel'"
    rows = found(by_hand.sources_alone, EIFFEL)
    assert_near(torch.tensor(part), rows["L23H4 ← 2"][-1], CLOSE)
    assert float(finer.values.sum()) == pytest.approx(value, abs=CLOSE)


def test_the_tokens_that_a_head_pushes_are_those_of_its_vector():
    """The writer's view: the head's vector through the final norm, at its scale, and the unembedding."""
    result = dla.Attributor(adapted(), dla.HeadDecomposer()).attribute(EIFFEL.prompt, difference((EIFFEL,)))
    run = by_hand.run_of(EIFFEL.prompt)
    z, matrix = run.at("z", 23)[-1].unflatten(-1, (9, -1))[4], run.weights.o_proj[23].double().unflatten(-1, (9, -1))
    vector = matrix[:, 4] @ z
    assert_near(result.part("L23H4").vector()[0, 0], vector, CLOSE)
    pushed = run.weights.lm_head.double() @ (vector * run.weights.gamma.double() / run.sigma(run.at("stream")[-1]))
    effects = result.part("L23H4").top_tokens(5)
    best = pushed.topk(5)
    assert [name for name, _ in effects.up] == [raw().tokenizer.decode([i]) for i in best.indices.tolist()]
    assert_near(torch.tensor([value for _, value in effects.up]), best.values, CLOSE)
    worst = (-pushed).topk(5)
    assert_near(torch.tensor([value for _, value in effects.down]), -worst.values, CLOSE)
