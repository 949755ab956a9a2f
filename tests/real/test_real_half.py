"""A real model in half precision: every head has its row, and what the model's own arithmetic rounds away has one too.

By hand, the rows are what the modules of the very model that is attributed took in and gave, in float64. The numbers
of a bridge in half precision are not those of Hugging Face's modules, since it computes attention step by step; so
the same plain PyTorch hooks sit on the bridge's modules here, and the float32 run is compared with loosely.
"""

import gc

import pytest
import real_by_hand as by_hand
import torch
from real_assertions import assert_near, assert_rows
from real_models import EIFFEL, FACTS, UNEQUAL, difference, ids_of, prompts, token

import dla
import dla.demo

pytestmark = pytest.mark.slow

ROUNDING = "rounding"
GAP = 1e-3
"""In logits: what remains when rounding has a row of its own."""
OF_FLOAT32 = {torch.bfloat16: 0.3, torch.float16: 0.05}
"""How far a row may be from that of the float32 model, in logits. The mantissas have 8 and 11 bits, and what
one block rounds moves all that follow it: by hand, rows at the last position are up to 0.14 and 0.025 apart."""

DECOMPOSERS = {
    "components": (dla.ComponentDecomposer(), by_hand.components),
    "heads": (dla.HeadDecomposer(), by_hand.heads),
    "sources": (dla.SourceDecomposer(), by_hand.sources),
    "neurons": (dla.NeuronDecomposer(), by_hand.neurons),
    "heads and neurons": (dla.HeadDecomposer() | dla.NeuronDecomposer(), by_hand.heads_and_neurons),
    "blocks": (dla.BlockDecomposer(), by_hand.blocks),
}


@pytest.fixture(scope="module", params=[torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def dtype(request):
    return request.param


@pytest.fixture(scope="module", params=["raw", "bridge"])
def model(request, dtype):
    """The model, let go of after the last test that wants it."""
    yield dla.demo.load_smollm2(request.param, dtype)
    gc.collect()


@pytest.fixture(scope="module")
def adapted(model):
    """The model, looked at once."""
    return dla.adapt(model)


def run_of(bridge, tokens):
    """One prompt through the bridge, by plain PyTorch hooks on its modules."""
    places = [(("embed", 0), bridge.embed.hook_out, False), (("stream", 0), bridge.ln_final.hook_in, True)]
    for i, block in enumerate(bridge.blocks):
        places += [
            (("pattern", i), block.attn.hook_pattern, False),
            (("v", i), block.attn.v.hook_out, False),
            (("z", i), block.attn.o.hook_in, False),
            (("attn", i), block.attn.o.hook_out, False),
            (("post", i), block.mlp.out.hook_in, False),
            (("mlp", i), block.mlp.out.hook_out, False),
        ]
    seen = {}
    with torch.no_grad(), by_hand.recording(places, seen):
        logits = bridge(tokens[None])[0]
    patterns = tuple(seen.pop(("pattern", i)) for i in range(len(bridge.blocks)))
    return by_hand.Run(weights_of(bridge), tokens, seen, patterns, logits)


def weights_of(bridge):
    def own(module):
        return module.original_component.weight.detach()

    return by_hand.Weights(
        tuple(own(block.attn.o) for block in bridge.blocks),
        tuple(own(block.mlp.out) for block in bridge.blocks),
        own(bridge.ln_final),
        bridge.cfg.eps,
        own(bridge.unembed),
        bridge.cfg.n_heads,
    )


def asked(run, fact):
    """What reads the stream, and the difference of the logits that the model gave."""
    answer, incorrect = token(fact.answer), token(fact.incorrect)
    d = run.direction(run.reading({answer: 1.0, incorrect: -1.0}))
    logits = run.logits.double()
    return d, logits[:, answer] - logits[:, incorrect]


def without_rounding(result):
    """The rows of the model's parts, and the row of what it rounds away."""
    rest = [label for label in result.labels if label != ROUNDING]
    return result.select(rest), result.select(ROUNDING).values[0]


def test_there_is_a_row_for_each_head_mlp_and_the_embedding_and_one_for_rounding(adapted):
    result = dla.Attributor(adapted, dla.HeadDecomposer()).attribute(EIFFEL.prompt, difference((EIFFEL,)))
    heads = {f"L{layer}H{head}" for layer in range(30) for head in range(9)}
    assert set(result.labels) == heads | {f"{layer}_mlp_out" for layer in range(30)} | {"embed", ROUNDING}
    assert len(result.labels) == 302
    assert float(result.gap.abs().max()) <= GAP


@pytest.mark.parametrize("name", DECOMPOSERS)
def test_the_rows_are_those_of_the_models_own_activations(name, model, adapted):
    """At every position of a prompt that is run alone, as by hand."""
    decomposer, decompose = DECOMPOSERS[name]
    result = dla.Attributor(adapted, decomposer).attribute(EIFFEL.prompt, difference((EIFFEL,)), pos=None)
    run = run_of(model, ids_of(EIFFEL.prompt))
    d, own = asked(run, EIFFEL)
    rows = decompose(run, d)
    parts, rounding = without_rounding(result)
    assert_rows(parts, [rows], GAP)
    assert_near(result.logit[0], own, GAP)
    assert float(result.gap.abs().max()) <= GAP
    lost = own - torch.stack(list(rows.values())).sum(0)
    assert_near(rounding[0], lost, 2 * GAP)


def test_the_rounding_is_small_beside_what_the_parts_write(adapted, dtype):
    """It is rounding, not a part that went missing: units in the last place of the logit and of the stream."""
    result = dla.Attributor(adapted, dla.HeadDecomposer()).attribute(prompts(FACTS), difference(FACTS))
    parts, rounding = without_rounding(result)
    assert bool((rounding.abs() <= 4 * torch.finfo(dtype).eps * parts.values.abs().sum(0)).all())
    assert float(result.gap.abs().max()) <= GAP


def test_the_rows_are_near_those_of_the_float32_model(adapted, dtype):
    result = dla.Attributor(adapted, dla.HeadDecomposer()).attribute(prompts(FACTS), difference(FACTS))
    parts, _ = without_rounding(result)
    for row, fact in enumerate(FACTS):
        run = by_hand.run_of(fact.prompt)
        rows = by_hand.heads(run, asked(run, fact)[0])
        wanted = torch.stack([rows[label][-1] for label in parts.labels])
        assert_near(parts.values[:, row], wanted, OF_FLOAT32[dtype], parts.labels)


def test_prompts_of_unequal_length_add_up_at_every_position(adapted):
    result = dla.Attributor(adapted, dla.HeadDecomposer()).attribute(prompts(UNEQUAL), difference(UNEQUAL), pos=None)
    there = result.positions >= 0
    assert float(result.gap[there].abs().max()) <= GAP
    assert result.labels.count(ROUNDING) == 1


@pytest.mark.parametrize("direction", [dla.Logit(" Paris"), dla.CentredLogit(" Paris"), dla.LogProbability(" Paris")])
def test_other_directions_add_up_too(direction, adapted):
    result = dla.Attributor(adapted, dla.HeadDecomposer()).attribute(EIFFEL.prompt, direction, pos=None)
    assert float(result.gap.abs().max()) <= GAP
    assert len(result.labels) == 302


def test_the_strongest_head_reads_the_tower(adapted):
    """What the float32 model shows can be seen in half precision, too."""
    result = dla.Attributor(adapted, dla.HeadDecomposer()).attribute(EIFFEL.prompt, difference((EIFFEL,)))
    ranked = [label for label, _ in result.select(kind="head").top(2)]
    assert "L23H4" in ranked
    finer = result.refine("L23H4", by=dla.SourceDecomposer(layers=[23])).select(kind="source")
    ((source, _),) = finer.top(1)
    assert source == "L23H4 ← 2 'iffel'"
