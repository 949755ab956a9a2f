"""Every question that can be asked of a real model, row by row, against Hugging Face's own modules."""

from dataclasses import replace
from functools import cache

import pytest
import real_by_hand as by_hand
import torch
from real_assertions import CLOSE, assert_near, assert_rows
from real_models import EIFFEL, UNEQUAL, adapted, ids_of, prompts, token, tokenizer

import dla

pytestmark = pytest.mark.slow

LENGTHS = [len(ids_of(fact.prompt)) for fact in UNEQUAL]
ANSWERS = torch.tensor([token(fact.answer) for fact in UNEQUAL])
EACH = torch.randint(49152, (len(UNEQUAL), max(LENGTHS)), generator=torch.Generator().manual_seed(0))
"""A token for each prompt and position."""
VECTOR = 0.1 * torch.randn(576, generator=torch.Generator().manual_seed(1))
"""About as long as a column of `W_U`."""
CITIES = (" Paris", " Rome", " London", " Berlin")


def mean_unembedding(run):
    return run.weights.lm_head.double().mean(0)


def expected_unembedding(run):
    """`Σ_u p_u W_U[u]`, at each position."""
    return run.logits.double().softmax(-1) @ run.weights.lm_head.double()


def weighted(run, **weights):
    return run.reading({token(f" {name}"): weight for name, weight in weights.items()})


DIRECTIONS = {
    "a token": (dla.Logit(" Paris"), lambda run, _: weighted(run, Paris=1)),
    "an id": (dla.Logit(token(" Paris")), lambda run, _: weighted(run, Paris=1)),
    "a token a prompt": (
        dla.Logit([fact.answer for fact in UNEQUAL]),
        lambda run, i: run.reading({int(ANSWERS[i]): 1.0}),
    ),
    "an id a prompt": (dla.Logit(ANSWERS), lambda run, i: run.reading({int(ANSWERS[i]): 1.0})),
    "an id a position": (dla.Logit(EACH), lambda run, i: run.reading(EACH[i, : len(run.tokens)])),
    "a difference": (dla.LogitDifference(" Paris", " Rome"), lambda run, _: weighted(run, Paris=1, Rome=-1)),
    "a set": (
        dla.LogitSet(CITIES),
        lambda run, _: weighted(run, Paris=0.25, Rome=0.25, London=0.25, Berlin=0.25),
    ),
    "a weighted set": (
        dla.LogitSet(CITIES[:3], [2.0, -0.5, 0.25]),
        lambda run, _: weighted(run, Paris=2, Rome=-0.5, London=0.25),
    ),
    "centred": (dla.CentredLogit(" Paris"), lambda run, _: weighted(run, Paris=1) - mean_unembedding(run)),
    "log-probability": (
        dla.LogProbability(" Paris"),
        lambda run, _: weighted(run, Paris=1) - expected_unembedding(run),
    ),
    "a vector": (dla.ResidualVector(VECTOR), lambda run, _: VECTOR.double()),
    "a combination": (
        2.0 * dla.Logit(" Paris") - 0.5 * dla.CentredLogit(" Rome") + dla.ResidualVector(VECTOR),
        lambda run, _: weighted(run, Paris=2, Rome=-0.5) + 0.5 * mean_unembedding(run) + VECTOR.double(),
    ),
    "a mean": (
        dla.mean([dla.LogitDifference(" Paris", " Rome"), dla.Logit(" London")]),
        lambda run, _: weighted(run, Paris=0.5, Rome=-0.5, London=0.5),
    ),
}


@pytest.fixture(scope="module")
def heads():
    return dla.Attributor(adapted(), dla.HeadDecomposer())


@pytest.fixture(scope="module")
def asked(heads):
    """The answer to a direction, at all positions of three prompts."""
    return cache(lambda name: heads.attribute(prompts(UNEQUAL), DIRECTIONS[name][0], pos=None))


def runs():
    return [by_hand.run_of(fact.prompt) for fact in UNEQUAL]


@pytest.mark.parametrize("name", DIRECTIONS)
def test_the_rows_are_what_the_direction_reads_of_hugging_faces_modules(name, asked):
    result, (_, reading) = asked(name), DIRECTIONS[name]
    readings = [reading(run, i) for i, run in enumerate(runs())]
    assert_rows(result, [by_hand.heads(run, run.direction(read)) for run, read in zip(runs(), readings, strict=True)])
    for row, (run, read) in enumerate(zip(runs(), readings, strict=True)):
        answer = (run.normed() * read).sum(-1)
        assert_near(result.logit[row, : len(answer)], answer, CLOSE)
        assert_near((result.total + result.constant)[row, : len(answer)], answer, CLOSE)


def test_several_directions_in_one_pass_are_each_as_it_is_alone(heads, asked):
    names = ["a difference", "an id a position", "log-probability", "a vector", "a mean"]
    together = heads.attribute(prompts(UNEQUAL), {name: DIRECTIONS[name][0] for name in names}, pos=None)
    for name in names:
        for field in ("values", "logit", "total", "tolerance"):
            alone, among = (getattr(result, field) for result in (asked(name), together.direction(name)))
            torch.testing.assert_close(among, alone, rtol=0, atol=CLOSE, equal_nan=True)


def test_tokens_are_read_in_hugging_faces_logits(asked):
    """The same again without `W_U`: the numbers that the untouched model returns."""
    for row, run in enumerate(runs()):
        n, logits = len(run.tokens), run.logits
        for name in ("a token", "an id"):
            assert_near(asked(name).logit[row, :n], logits[:, token(" Paris")], CLOSE)
        picked = logits[torch.arange(n), EACH[row, :n]]
        assert_near(asked("an id a position").logit[row, :n], picked, CLOSE)
        mean = logits[:, [token(city) for city in CITIES]].mean(-1)
        assert_near(asked("a set").logit[row, :n], mean, CLOSE)
        centred = logits[:, token(" Paris")] - logits.mean(-1)
        assert_near(asked("centred").logit[row, :n], centred, CLOSE)


def test_the_log_probability_direction_comes_to_log_p_plus_the_entropy(asked):
    result = asked("log-probability")
    for row, run in enumerate(runs()):
        log_p = run.logits.double().log_softmax(-1)
        wanted = log_p[:, token(" Paris")] - (log_p.exp() * log_p).sum(-1)
        assert_near((result.total + result.constant)[row, : len(wanted)], wanted, CLOSE)


def test_the_next_token_is_the_one_that_follows(heads):
    result = heads.attribute(prompts(UNEQUAL), dla.NextToken(), pos=slice(None, -1))
    for row, run in enumerate(runs()):
        following = run.tokens[1:]
        rows = by_hand.heads(run, run.direction(run.reading(torch.cat([following, following[-1:]]))))
        n = len(following)
        assert_near(result.values[:, row, :n], torch.stack([rows[label][:n] for label in result.labels]), CLOSE)
        assert_near(result.logit[row, :n], run.logits[torch.arange(n), following], CLOSE)


def test_the_top_tokens_are_the_models_own(heads):
    result = heads.attribute(EIFFEL.prompt, dla.TopTokens(3))
    run = by_hand.run_of(EIFFEL.prompt)
    best = run.logits[-1].topk(3)
    assert result.directions == [tokenizer().decode([i]) for i in best.indices.tolist()]
    assert result.directions[0] == EIFFEL.answer
    assert_near(result.logit[:, 0], best.values, CLOSE)
    for name, i in zip(result.directions, best.indices.tolist(), strict=True):
        rows = by_hand.heads(run, run.direction(run.reading({i: 1.0})))
        values = torch.stack([rows[label][-1] for label in result.labels])
        assert_near(result.direction(name).values[:, 0], values, CLOSE)


@pytest.mark.parametrize(
    ("at", "place"),
    [
        ("blocks.0.hook_resid_pre", "0_pre"),
        ("blocks.12.hook_resid_mid", "12_mid"),
        ("blocks.22.hook_resid_post", "23_pre"),
        ("blocks.29.hook_resid_post", "final_post"),
    ],
)
def test_a_vector_reads_the_stream_at_any_place(at, place, heads):
    """There is no norm on the way: the rows are what was written up to there, and add up to `x · vector`."""
    result = heads.attribute(prompts(UNEQUAL), dla.ResidualVector(VECTOR, at=at), pos=None)
    layer = {"0_pre": 0, "12_mid": 13, "23_pre": 23, "final_post": 30}[place]
    expected = []
    for run in runs():
        rows = by_hand.heads(run, VECTOR.double().expand(len(run.tokens), -1))
        there = {label: rows[label] for label in rows if _before(label, layer, place == "12_mid")}
        expected.append({label: values / _size(run, place) for label, values in there.items()})
    scaled = _divided(result, [_size(run, place) for run in runs()])
    assert_rows(scaled, expected)
    for row, run in enumerate(runs()):
        own = run.streams()[place] @ VECTOR.double() / _size(run, place)
        assert_near(scaled.logit[row, : len(own)], own, CLOSE)
        assert bool((result.constant[row, : len(own)] == 0).all())


def _before(label, layer, mid):
    """Whether something was written before a block begins, or before its MLP."""
    if label == "embed":
        return True
    number = int(label.removeprefix("L").replace("H", "_").partition("_")[0])
    return number < layer and not (mid and label == f"{layer - 1}_mlp_out")


def _size(run, place):
    """The length of the stream: some positions have a hundred times that of others, and rounding goes with it."""
    return run.streams()[place].norm(dim=-1).clamp(min=1.0)


def _divided(result, sizes):
    """A result whose numbers are of the size of logits."""
    width = result.values.shape[-1]
    by = torch.stack([torch.nn.functional.pad(size, (0, width - len(size)), value=1.0) for size in sizes]).float()
    return replace(result, values=result.values / by, logit=result.logit / by)
