"""An attention score is the sum of its pairs, and each pair is what weights and streams give by hand."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import dla
from dla.adapters.transformer_lens import TransformerLensAdapter
from dla.testing import TinyModel
from dla.testing import strategies as dst
from dla.testing.models.drawn import FAMILIES, HOOKED_FAMILY
from dla.testing.subjects import LINE
from tests.frozen_by_hand import FrozenByHand, writes
from tests.subjects import FEW, GPT2, cached, eps_of, params, some_tokens
from tests.traced_subjects import ALLOWED, ASKED, DOUBLE, attributed, together

QUERY, KEY = 4, 2


def normed(norm: Any, part: Tensor, stream: Tensor) -> Tensor:
    """What a norm whose scale is that of the stream makes of a part, without its bias."""
    centre = (lambda x: x - x.mean(-1, keepdim=True)) if isinstance(norm, torch.nn.LayerNorm) else lambda x: x
    eps = norm.eps if isinstance(norm, torch.nn.LayerNorm) else norm.variance_epsilon
    made: Tensor = norm.weight * centre(part) / (centre(stream).pow(2).mean(-1, keepdim=True) + eps).sqrt()
    return made.detach()


def turned(vector: Tensor, position: int, base: float = 10000.0) -> Tensor:
    """A rotary embedding, by complex numbers."""
    half = vector.shape[-1] // 2
    angles = position * base ** (-torch.arange(half, dtype=torch.float64) / half)
    pairs = torch.complex(vector[..., :half], vector[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([pairs.real, pairs.imag], -1)


def gpt2_by_hand(frozen: FrozenByHand, head: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The summands of a query and of a key in block 1 of GPT-2."""
    attention, norm = frozen.module("transformer.h.1.attn.c_attn"), frozen.module("transformer.h.1.ln_1")
    stream, d_model = frozen.entering("transformer.h.1.ln_1").detach(), attention.weight.shape[0]
    sides = []
    for kind, start, at in (("Q", 0, QUERY), ("K", d_model, KEY)):
        columns = slice(start + 8 * head, start + 8 * head + 8)
        parts = {name: normed(norm, part[:, at], stream[:, at]) for name, part in writes(frozen, 1).items()}
        parts["1_ln1_b"] = norm.bias.detach()
        made = {name: part @ attention.weight[:, columns].detach() for name, part in parts.items()}
        sides.append({**made, f"1_b_{kind}": attention.bias[columns].detach()})
    return sides[0], sides[1]


def llama_by_hand(frozen: FrozenByHand, head: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The summands of a query and of a key in block 1 of a Llama, whose two heads of a group share a key."""
    norm, stream = (get("model.layers.1.input_layernorm") for get in (frozen.module, frozen.entering))
    sides = []
    for name, group, at in (("q_proj", head, QUERY), ("k_proj", head // 2, KEY)):
        weight = frozen.module(f"model.layers.1.self_attn.{name}").weight[8 * group : 8 * group + 8].detach()
        parts = {name: normed(norm, part[:, at], stream[:, at].detach()) for name, part in writes(frozen, 1).items()}
        sides.append({name: turned(part @ weight.T, at) for name, part in parts.items()})
    return sides[0], sides[1]


@pytest.mark.parametrize("name", DOUBLE)
def test_pairs_are_what_the_weights_give_by_hand(name: str) -> None:
    frozen = FrozenByHand(name, some_tokens(1))
    query, key = (gpt2_by_hand if name == "gpt2" else llama_by_hand)(frozen, 2)
    result = attributed(name, dla.HeadDecomposer())
    found = result.part("L1H2").attention(QUERY, KEY, by=dla.ComponentDecomposer())
    assert (found.query_labels, found.key_labels) == ([*query], [*key])
    for i, one in enumerate(query.values()):
        for j, other in enumerate(key.values()):
            truth = ((one * other).sum(-1) / 8**0.5).expand(2)
            torch.testing.assert_close(found.values[i, j], truth, atol=ALLOWED[name], rtol=ALLOWED[name])
    whole = sum(query.values()), sum(key.values())
    for sums, side, other in ((found.by_query, query, whole[1]), (found.by_key, key, whole[0])):
        truth = torch.stack([(one * other).sum(-1).expand(2) / 8**0.5 for one in side.values()])
        torch.testing.assert_close(sums, truth, atol=ALLOWED[name], rtol=ALLOWED[name])
    shown = cached(DOUBLE[name].model(), some_tokens(1))["blocks.1.attn.hook_attn_scores"][:, 2, QUERY, KEY]
    torch.testing.assert_close(found.score, shown)
    torch.testing.assert_close(sum(each for each in found.values.flatten(0, 1)), shown, atol=1e-6, rtol=1e-6)


TURNED = ("gpt_neox", "phi-grouped-query", "llama", "llama-biases", "mistral", "falcon", "glm", "ernie4_5", "gpt_oss")
NORMED = ("qwen3", "olmo2", "gemma3_text", "exaone4", "smollm3", *(["cohere"] if LINE >= 4 else []))
PLACED = ("bloom", "falcon-alibi", "mpt")
CAPPED = (TinyModel("gemma2"), TinyModel("scores-soft-cap", "hooked"))
IN_HOOKED = (
    *("rotary", "rotary-adjacent", "parallel-rotary", "grouped-query-rms-rotary", "multi-query", "ungrouped"),
    *("query-key-norm", "local", "sinks", "scaled-by-layer", "attention-result", "experts"),
)
SUBJECTS = (
    *FEW,
    *(TinyModel(name) for name in (*TURNED, *NORMED, *PLACED)),
    *(TinyModel(name, dtype=torch.float64) for name in ("gpt2", "bloom", "falcon", "qwen3")),
    *(TinyModel(name, processed=True) for name in ("gpt_neox", "qwen3")),
    *(TinyModel(name, "hooked", processed) for name in IN_HOOKED for processed in (False, True)),
    *(TinyModel(name, "hooked", dtype=torch.float64) for name in ("rotary", "query-key-norm")),
)


def asked_of(result: dla.Attribution) -> Iterator[str]:
    """Some of the heads."""
    yield from [label for label in result.labels if re.fullmatch(r"L\d+H\d+", label)][::3]


@pytest.mark.parametrize("subject", params([*dict.fromkeys(SUBJECTS)]))
def test_the_pairs_add_up_to_the_score_that_the_hook_shows(subject: TinyModel) -> None:
    result, shown = together(subject), cached(subject.model(), some_tokens(4, 2, 7))
    for label in asked_of(result):
        layer, head = map(int, re.findall(r"\d+", label))
        for query, key in ((-1, -1), (6, 5), (3, 2), (1, 0), (0, 0)):
            found = result.part(label).attention(query, key)
            truth = shown[f"blocks.{layer}.attn.hook_attn_scores"][:, head, query, key]
            torch.testing.assert_close(found.score, truth.to(found.score))
            added = found.values.sum((0, 1)) + found.constant
            eps = eps_of(subject)
            assert float((added - found.score).abs().max()) < 2e3 * eps
            assert bool((found.gap.abs() <= found.tolerance).all())
            torch.testing.assert_close(found.by_query.sum(0), found.total, atol=1e3 * eps, rtol=1e3 * eps)
            torch.testing.assert_close(found.by_key.sum(0), found.total, atol=1e3 * eps, rtol=1e3 * eps)


@pytest.mark.parametrize("line", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
def test_half_precision_stays_within_its_own_rounding(name: str, line: str) -> None:
    part = together(TinyModel(name, dtype=getattr(torch, line))).part("L1H2")
    for query, key in ((-1, 0), (3, 3)):
        found, finer = (part.attention(query, key, by=by) for by in (None, dla.SourceDecomposer()))
        assert bool((found.gap.abs() <= found.tolerance).all())
        torch.testing.assert_close(found.total, finer.total, atol=1e-4, rtol=1e-4)
        assert float(found.tolerance.max()) < (2.0 if line == "bfloat16" else 0.25)


@pytest.mark.parametrize("subject", params(CAPPED))
def test_a_capped_score_is_told_before_the_cap(subject: TinyModel) -> None:
    result, cap = together(subject), 1.0
    shown = cached(subject.model(), some_tokens(4, 2, 7))["blocks.1.attn.hook_attn_scores"]
    found = result.part("L1H1").attention(3, 2)
    torch.testing.assert_close(cap * torch.tanh((found.total + found.constant) / cap), shown[:, 1, 3, 2])
    assert bool((found.gap.abs() <= found.tolerance).all())
    assert float(found.tolerance.max()) < 0.05
    assert "before the soft cap of 1" in str(found).replace("\n", " ")


def test_a_finer_decomposer_gives_pieces_of_the_pairs() -> None:
    result = attributed("llama", dla.HeadDecomposer())
    of = result.part("L1H2")
    coarse = of.attention(QUERY, KEY, by=dla.ComponentDecomposer())
    for by in (dla.HeadDecomposer(), dla.HeadDecomposer() | dla.NeuronDecomposer(), dla.SourceDecomposer()):
        fine = of.attention(QUERY, KEY, by=by)
        torch.testing.assert_close(fine.score, coarse.score)
        rows, columns = (
            [next(labels.index(str(step)) for step in part.path() if str(step) in labels) for part in parts]
            for labels, parts in ((coarse.query_labels, fine.query_parts), (coarse.key_labels, fine.key_parts))
        )
        added = torch.zeros_like(coarse.values)
        for i, row in enumerate(rows):
            added[row].index_add_(0, torch.tensor(columns), fine.values[i])
        torch.testing.assert_close(added, coarse.values)


@pytest.mark.parametrize("name", ["gpt2", "llama", "mpt", "qwen3"])
def test_scores_do_not_depend_on_the_batch(name: str) -> None:
    attributor = dla.Attributor(TinyModel(name).model(), dla.HeadDecomposer())
    prompts = [some_tokens(8, 1, 7)[0], some_tokens(9, 1, 4)[0]]
    both, alone = (attributor.attribute(each, ASKED).part("L1H1") for each in (prompts, prompts[1]))
    for query, key in ((3, 1), (-1, -3), (2, 2)):
        batched, single = (each.attention(query, key) for each in (both, alone))
        torch.testing.assert_close(batched.values[..., 1], single.values[..., 0], atol=2e-6, rtol=1e-4)
        assert batched.query[1] == single.query[0]
        if name != "mpt":  # MPT counts positions from the end of the longest prompt
            torch.testing.assert_close(batched.score[1], single.score[0], atol=1e-5, rtol=1e-4)


each_family = [name for name in FAMILIES if name not in ("gptj", "opt")] + [HOOKED_FAMILY] * (LINE < 4)


def answer(part: dla.Part, query: int, key: int) -> dla.AttentionScore | Exception:
    """A score, or why there is none."""
    try:
        return part.attention(query, key)
    except (dla.UnsupportedModelError, ValueError) as error:
        return error


@settings(max_examples=settings.default.max_examples * 2)
@given(data=st.data(), family=st.sampled_from(each_family), seed=st.integers(0, 2**16), width=st.integers(1, 9))
def test_the_scores_of_any_model_are_the_sums_of_their_pairs(
    data: st.DataObject, family: str, seed: int, width: int
) -> None:
    config = data.draw(dst.model_configs(families=[family], dtypes=[torch.float32, torch.float64]))
    model, tokens = config.model(), some_tokens(seed, 2, width)
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(tokens, ASKED)
    layer, head = (data.draw(st.integers(0, n - 1)) for n in (config.sizes.layers, config.sizes.heads))
    query = data.draw(st.integers(0, width - 1))
    key = data.draw(st.integers(max(0, query - 2), query))
    shown = cached(model, tokens)[f"blocks.{layer}.attn.hook_attn_scores"][:, head, query, key]
    found = answer(result.part(f"L{layer}H{head}"), query, key)
    if isinstance(found, dla.UnsupportedModelError):
        assert family == HOOKED_FAMILY
        assert re.search("input of its own|depends on the longest prompt|times a matrix|are not known", str(found))
        return
    if isinstance(found, ValueError):
        assert "the pair is masked" in str(found)
        assert bool((shown < -1e4).any())
        return
    if config.switches.get("attn_scores_soft_cap") is None:
        torch.testing.assert_close(found.score, shown.to(found.score))
    assert bool((found.gap.abs() <= found.tolerance).all())


def test_a_score_from_a_cache_is_that_of_a_run() -> None:
    tokens = some_tokens(1)
    attributor = dla.Attributor(GPT2.model(), dla.HeadDecomposer())
    run = attributor.attribute(tokens, ASKED).part("L1H0").attention(3, 2)
    held = attributor.attribute(tokens, ASKED, cache=cached(GPT2.model(), tokens)).part("L1H0").attention(3, 2)
    torch.testing.assert_close(held.values, run.values)


def test_a_score_takes_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    part = attributed("gpt2", dla.HeadDecomposer()).part("L1H2")
    part.attention(3, 2)
    passes, run = [], TransformerLensAdapter.run

    def counting(*args: Any) -> Tensor:
        passes.append(1)
        return run(*args)

    monkeypatch.setattr(TransformerLensAdapter, "run", counting)
    part.attention(3, 2)
    assert len(passes) == 1


def test_a_head_that_was_found_in_a_trace_is_asked() -> None:
    result = attributed("llama", dla.HeadDecomposer())
    found = result.trace("L1H2", by=dla.HeadDecomposer()).part("L0H3").attention(QUERY, KEY)
    torch.testing.assert_close(found.values, result.part("L0H3").attention(QUERY, KEY).values)


def test_a_score_depends_on_no_direction() -> None:
    attributor = dla.Attributor(GPT2.model(), dla.HeadDecomposer())
    several = attributor.attribute(some_tokens(1), {"one": dla.Logit(5), "two": dla.Logit(6)}, pos=None)
    found, alone = (each.part("L1H2").attention(3, 2) for each in (several, several.direction("two")))
    assert torch.equal(found.values, alone.values)
    with pytest.raises(ValueError, match="one"):
        found.direction("one")


def test_a_score_prints_and_becomes_a_table() -> None:
    found = attributed("gpt2", dla.HeadDecomposer()).part("L1H2").attention(QUERY, KEY)
    assert "attention score of L1H2 from 4 to 2 (scales frozen: the norm)" in str(found).replace("\n", " ")
    assert "the score as measured" in str(found)
    assert "1_b_K" in found.key_labels
    assert "largest gap" in found._repr_html_()
    assert repr(found).startswith("AttentionScore(attention score of L1H2 from 4 to 2")
    frame, values = found.to_dataframe(), found.values
    assert list(frame.columns) == ["query_part", "key_part", "batch", "value"]
    assert len(frame) == values.numel()
    strongest = found.top(3)
    means = values.mean(-1)
    assert [abs(value) for _, _, value in strongest] == pytest.approx(means.abs().flatten().topk(3).values.tolist())
    one, other, value = strongest[0]
    rows = frame[(frame.query_part == one) & (frame.key_part == other)]
    assert float(rows["value"].mean()) == pytest.approx(value)
    assert found.top_query(1)[0][1] == pytest.approx(
        float(found.by_query.mean(1)[found.by_query.mean(1).abs().argmax()])
    )
    assert found.top_key(2)[0][0] in found.key_labels
    assert float(found.to_xarray()["by_key"].sum("key_part")[0]) == pytest.approx(float(found.total[0]))
    assert found.top(0) == []
    assert found.plot().data[0].colorbar.title.text == "score"


def test_of_many_parts_the_strongest_pairs_are_found() -> None:
    part = attributed("gpt2", dla.HeadDecomposer()).part("L1H2")
    found = part.attention(QUERY, KEY, by=dla.HeadDecomposer() | dla.NeuronDecomposer())
    from dla.results import attention_score

    means = found.values.mean(-1).abs().flatten().topk(20).values.tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_score, "_AT_A_TIME", 4)
        assert [abs(value) for *_, value in found.top(20)] == pytest.approx(means)
