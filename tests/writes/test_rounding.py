"""Half precision: what the model's own arithmetic rounds away is measured, is a row, and hides nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, final

import pytest
import torch
from subjects import LINE, some_ids, some_tokens
from torch import Tensor

import dla
from dla.adapters.anatomy import Heads, Sublayer
from dla.decomposers.splitting import split_sublayers
from dla.testing.models import architecture, hooked_architecture
from dla.writes import Addition, HookValue, NormOutput, Precision, Product, Rounding

HALVES = (torch.bfloat16, torch.float16)
each_half = pytest.mark.parametrize("dtype", HALVES, ids=lambda dtype: str(dtype).removeprefix("torch."))
TOKENS = some_tokens(3)
IDS = some_ids(3, *TOKENS.shape)


@cache
def bridge(name: str, dtype: torch.dtype, mode: str = "raw") -> Any:
    return architecture(name).bridge("raw" if mode == "raw" else "compatibility", dtype=dtype)


def attributed(model: Any, decomposer: dla.Decomposer, **options: Any) -> dla.Attribution:
    return dla.Attributor(model, decomposer, **options).attribute(TOKENS, dla.Logit(IDS), pos=None)


def own_logits(model: Any) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(TOKENS)
    return logits.gather(-1, IDS.unsqueeze(-1)).squeeze(-1)


def lost_by_hand(model: Any, layers: int) -> tuple[Tensor, Tensor]:
    """What a GPT-2 in half precision rounds away, step by step, from a plain cache; and the largest share of a step.

    Each step's result is compared with what it comes to in float64. The share is of half a unit in the last place of
    the result, which one rounding never passes.
    """
    with torch.no_grad():
        _, cache = model.run_with_cache(TOKENS)
    seen = {name: cache[name].double() for name in cache if cache[name].is_floating_point()}
    W_U, norm = model.unembed.W_U.double()[:, IDS].movedim(0, -1), model.ln_final
    weight, bias = norm.weight.double(), norm.bias.double()
    x = seen[f"blocks.{layers - 1}.hook_resid_post"]
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.pow(2).mean(-1, keepdim=True) + model.cfg.eps).sqrt()
    direction = W_U * weight
    direction = (direction - direction.mean(-1, keepdim=True)) / scale
    steps = [(seen["hook_embed"] + seen["hook_pos_embed"], seen["blocks.0.hook_resid_pre"])]
    for i in range(layers):
        block = f"blocks.{i}.hook_"
        steps += [
            (seen[f"{block}resid_pre"] + seen[f"{block}attn_out"], seen[f"{block}resid_mid"]),
            (seen[f"{block}resid_mid"] + seen[f"{block}mlp_out"], seen[f"{block}resid_post"]),
        ]
    share = torch.stack([(got - exact).abs().div(exact.abs().clamp(min=1e-30)).max() for exact, got in steps]).max()
    lost = torch.stack([((got - exact) * direction).sum(-1) for exact, got in steps]).sum(0)
    normed = centred / scale * weight + bias
    lost = lost + ((seen["unembed.hook_in"] - normed) * W_U).sum(-1)
    logits = seen["unembed.hook_out"].gather(-1, IDS.unsqueeze(-1)).squeeze(-1)
    return lost + logits - (seen["unembed.hook_in"] * W_U).sum(-1), share / (torch.finfo(model.cfg.dtype).eps / 2)


@each_half
def test_the_row_is_what_each_step_of_the_model_rounds_away(dtype: torch.dtype) -> None:
    model = bridge("gpt2", dtype)
    result = attributed(model, dla.ComponentDecomposer())
    lost, share = lost_by_hand(model, 2)
    row = result.select("rounding").values[0]
    assert bool(row.abs().max() > 1e-4), "nothing is rounded in this model, so the test shows nothing"
    torch.testing.assert_close(row.double(), lost, rtol=1e-3, atol=3e-6)
    assert float(share) <= 1.0, "what is added to the stream is off by more than one rounding"


@pytest.mark.parametrize("decomposer", [dla.HeadDecomposer(), dla.SourceDecomposer(), dla.NeuronDecomposer()], ids=str)
@each_half
def test_rows_are_those_of_the_models_own_activations(dtype: torch.dtype, decomposer: dla.Decomposer) -> None:
    """Whatever is read, the sum is the model's own logit as in float32, and no row is moved by what is rounded away."""
    model, single = bridge("llama", dtype), bridge("llama", torch.float32)
    result, exact = attributed(model, decomposer), attributed(single, decomposer)
    assert [label for label in result.labels if label != "rounding"] == exact.labels
    torch.testing.assert_close(result.total + result.constant, own_logits(model).float(), rtol=0, atol=2e-5)
    assert bool((result.tolerance < 1e-4).all()), "the tolerance is that of half precision"
    moved = (result.select(exact.labels).values - exact.values).abs().max()
    assert float(moved) < 16 * torch.finfo(dtype).eps * float(exact.values.abs().max())


def test_there_is_no_such_row_in_float32_and_float64() -> None:
    for dtype in (torch.float32, torch.float64):
        assert "rounding" not in attributed(bridge("gpt2", dtype), dla.HeadDecomposer()).labels


DECOMPOSERS: tuple[dla.Decomposer, ...] = (
    dla.HeadDecomposer() | dla.NeuronDecomposer(),
    dla.SourceDecomposer() | dla.ExpertDecomposer(),
    dla.BiasDecomposer(),
    dla.BlockDecomposer(),
    dla.EmbeddingDecomposer(),
    dla.LayerDecomposer(),
    dla.LensDecomposer(),
    dla.GroupDecomposer(dla.HeadDecomposer(), {"all": lambda label: label.layer == 1}),
)

CASES = ("gpt2", "gptj", "llama-biases", "gemma2", "olmo2", "granite-biases", "mixtral", "qwen2_moe", "mamba")
"""Biases, a parallel block, post-norms, multipliers, experts with a shared one, no attention at all."""


@each_half
@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_model_is_as_exact_as_in_float32(name: str, dtype: torch.dtype) -> None:
    model = bridge(name, dtype)
    for decomposer in DECOMPOSERS:
        single = attributed(bridge(name, torch.float32), decomposer)
        result = attributed(model, decomposer)
        assert [label for label in result.labels if label != "rounding"] == single.labels
        assert bool((result.gap.abs() <= result.tolerance).all())
        assert bool((result.tolerance <= 2 * single.tolerance.max()).all())


@each_half
@pytest.mark.parametrize(
    "direction",
    [
        dla.LogitDifference(5, 9),
        dla.LogProbability(5),
        dla.CentredLogit(5),
        dla.TopTokens(2),
        dla.ResidualVector(torch.ones(32)),
        dla.ResidualVector(torch.ones(32), at="blocks.1.hook_resid_mid"),
        {"one": dla.Logit(5), "other": dla.Logit(6)},
    ],
    ids=lambda direction: type(direction).__name__,
)
def test_every_direction_is_as_exact_as_in_float32(direction: Any, dtype: torch.dtype) -> None:
    for unembed in ("all", "sample"):
        attributor = dla.Attributor(bridge("gpt2", dtype), dla.HeadDecomposer(), unembed=unembed)
        result = attributor.attribute(some_tokens(3, 2, 40), direction, pos=None)
        assert bool((result.gap.abs() <= result.tolerance).all())
        assert bool((result.tolerance < 1e-4).all())


def test_from_a_cache_as_from_a_run() -> None:
    model = bridge("gpt2", torch.bfloat16)
    attributor = dla.Attributor(model, dla.HeadDecomposer())
    run = attributor.attribute(TOKENS, dla.Logit(IDS), pos=None)
    _, cache = model.run_with_cache(TOKENS)
    cached = attributor.attribute(TOKENS, dla.Logit(IDS), pos=None, cache=cache)
    assert cached.labels == run.labels
    torch.testing.assert_close(cached.values, run.values)


@pytest.mark.skipif(LINE >= 4, reason="TransformerLens 4 has no HookedTransformer")
@pytest.mark.parametrize("name", ["ln", "gated-rms-rotary", "parallel", "attention-result"])
@each_half
def test_hooked_transformers(name: str, dtype: torch.dtype) -> None:
    decomposer = dla.HeadDecomposer() | dla.NeuronDecomposer()
    result = attributed(hooked_architecture(name).model(dtype=dtype), decomposer)
    single = attributed(hooked_architecture(name).model(), decomposer)
    assert [label for label in result.labels if label != "rounding"] == single.labels
    assert bool((result.tolerance <= 2 * single.tolerance.max()).all())


@final
@dataclass(frozen=True)
class WithoutOneHead(dla.Decomposer):
    """Heads, less one of them."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[Any]:
        return list(split_sublayers(model, None, self._split, "attention heads"))

    def _split(self, sublayer: Sublayer) -> Sequence[dla.Write] | None:
        heads = sublayer.heads
        if heads is None:
            return None
        most = Heads(heads.label, replace(heads.z, read=_all_but_one(heads.z.read)), heads.W_O[:-1], heads.b_O)
        return [most.write(), *heads.biases()]


def _all_but_one(read: Any) -> Any:
    return lambda z: read(z)[:, :, :-1]


@final
@dataclass(frozen=True)
class WithoutBias(dla.Decomposer):
    """Heads and what they round away, and nobody writes `b_O`."""

    def writes(self, model: dla.ModelAdapter) -> Sequence[Any]:
        return [write for write in dla.HeadDecomposer().writes(model) if write.labels[0].kind != "b_O"]


@each_half
@pytest.mark.parametrize("decomposer", [WithoutOneHead(), WithoutBias()], ids=lambda each: type(each).__name__)
def test_a_part_that_is_missing_cannot_hide_in_rounding(decomposer: dla.Decomposer, dtype: torch.dtype) -> None:
    with pytest.raises(dla.ReconstructionError):
        attributed(bridge("gpt2", dtype), decomposer)


@each_half
def test_an_edit_of_the_stream_is_not_taken_for_rounding(dtype: torch.dtype) -> None:
    model = bridge("gpt2", dtype)
    attributor = dla.Attributor(model, dla.HeadDecomposer())
    with (
        model.hooks(fwd_hooks=[("blocks.0.hook_resid_post", lambda x, hook: x + 0.5)]),
        pytest.raises(dla.UnsupportedModelError, match="cannot be told from what half precision rounds away"),
    ):
        attributor.attribute(TOKENS, dla.LogitDifference(5, 9), pos=None)


def test_what_is_more_than_rounding_counts_as_nothing() -> None:
    x, y, precision = dla.Site("x"), dla.Site("y"), Precision.of(torch.bfloat16)
    weight = torch.randn(6, 4).bfloat16()
    activation = torch.randn(2, 3, 6).bfloat16()
    product = (activation.float() @ weight.float()).bfloat16()
    write = Rounding(Product(x, weight, None, precision), y, [dla.Label("rounding")])
    exact = activation.double() @ weight.double()
    lost = write.vectors({x: activation.float(), y: product.float()})[0].double()
    torch.testing.assert_close(lost, product.double() - exact, rtol=0, atol=1e-6)
    assert bool(lost.any())
    wrong = product.float()
    wrong[0, 1, 2] += 1.0
    edited = write.vectors({x: activation.float(), y: wrong})[0]
    assert edited[0, 1, 2] == 0
    lost[0, 1, 2] = 0
    torch.testing.assert_close(edited.double(), lost)


def test_the_bound_of_an_addition_is_half_a_unit_of_its_result() -> None:
    before, added = dla.Site("before"), dla.Site("added")
    big, small = torch.full((1, 1, 1), 4704.0), torch.full((1, 1, 1), 1.0)
    precision = Precision.of(torch.bfloat16)
    computed = Addition([(before, 1.0), (added, 1.0)], precision).at({before: big, added: small})
    assert not computed.misses((big.bfloat16() + small.bfloat16()).float())
    assert computed.misses(big + 40.0)
    assert Addition([(before, 1.0), (added, 1.0)], precision).at({before: small, added: small}).misses(small * 2.02)


def test_an_entry_that_is_huge_excuses_no_other() -> None:
    """A comparison relative to the largest entry cannot see a change of 1 beside an entry of 10000."""
    x = torch.randn(1, 2, 8)
    x[..., 0] = 1e4
    site, scale = dla.Site("x"), dla.Site("scale", read=lambda x: (x.pow(2).mean(-1) + 1e-5).sqrt())
    norm = NormOutput(HookValue(site), dla.Norm(scale, torch.ones(8)), Precision.of(torch.float32))
    computed = norm.at({site: x, scale: scale.read(x)})
    assert not computed.misses(computed.value)
    wrong = computed.value.clone()
    wrong[0, 0, 3] *= 1.001
    assert computed.misses(wrong)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("first", [0.0, 1.0])
def test_a_product_misses_what_its_whole_norms_say(dtype: torch.dtype, by_column: bool, first: float) -> None:
    """Part of the rows is looked at first: that may say little (they are zero), and never too much."""
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 5, 300, generator=generator), torch.randn(300, 40, generator=generator)
    weight[:64] *= first
    weight = (weight.T.contiguous().T if by_column else weight).to(dtype)
    site = dla.Site("x")
    step = Product(site, weight, torch.randn(40, generator=generator), Precision.of(dtype))
    whole = step.at({site: x})
    for share in (-1.1, -0.9, 0.0, 0.9, 1.1, 30.0):
        seen = whole.value.clone()
        seen[1, 2, 7] += share * whole.slack[1, 2, 7]
        assert step.misses({site: x}, seen) == whole.misses(seen) == (abs(share) > 1)


def test_a_cache_in_half_precision_has_the_tolerance_of_its_dtype() -> None:
    model = bridge("gpt2", torch.float32)
    _, cache = model.run_with_cache(TOKENS)
    exact = dla.Attributor(model, dla.HeadDecomposer()).attribute(TOKENS, dla.Logit(IDS), pos=None)
    for name in list(cache.cache_dict):
        if cache.cache_dict[name].is_floating_point():
            cache.cache_dict[name] = cache.cache_dict[name].half()
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(TOKENS, dla.Logit(IDS), pos=None, cache=cache)
    assert "rounding" not in result.labels
    ratio = (result.tolerance / exact.tolerance).median() * torch.finfo(torch.float32).eps
    assert 0.5 < float(ratio) / torch.finfo(torch.float16).eps < 2
    torch.testing.assert_close(result.values, exact.values, rtol=0, atol=0.02)


@each_half
def test_a_part_in_pieces(dtype: torch.dtype) -> None:
    """Heads by source, an attention sublayer by head: what the pieces lose in adding up goes to the one row."""
    result = attributed(bridge("llama", dtype), dla.ComponentDecomposer())
    heads = result.refine("1_attn_out", by=dla.HeadDecomposer())
    sources = heads.refine("L1H2", by=dla.SourceDecomposer())
    assert sources.labels.count("rounding") == 1
    assert sources.labels[-1] == "rounding"
    for finer in (heads, sources):
        torch.testing.assert_close(finer.total, result.total, rtol=0, atol=1e-5)
        assert bool((finer.gap.abs() <= finer.tolerance).all())
    exact = attributed(bridge("llama", dtype), dla.SourceDecomposer())
    same = sources.select(kind="source")
    assert {part.head for part in same.parts} == {2}
    torch.testing.assert_close(same.values, exact.select(same.labels).values)


@each_half
def test_gaps_are_explained_block_by_block(dtype: torch.dtype) -> None:
    attributor = dla.Attributor(bridge("gpt2", dtype), dla.HeadDecomposer())
    assert attributor.explain_gap(TOKENS, dla.Logit(5)).first() is None
    wrong = dla.Attributor(bridge("gpt2", dtype), WithoutBias(), check="warn")
    first = wrong.explain_gap(TOKENS, dla.Logit(5)).first()
    assert first is not None
    assert first.place == "block 0"


def test_what_is_rounded_away_is_no_vector() -> None:
    result = attributed(bridge("gpt2", torch.bfloat16), dla.HeadDecomposer())
    with pytest.raises(ValueError, match=r"'rounding' holds what many steps .* no one vector of the stream\. Look at"):
        result.part("rounding").top_tokens()
    assert len(result.part("L0H1").top_tokens(3).up) == 3


@each_half
def test_a_group_of_all_parts_leaves_what_is_rounded_away(dtype: torch.dtype) -> None:
    """It is known in full only after the run, so groups that are named before hold none of it."""
    model = bridge("gpt2", dtype)
    rows = attributed(model, dla.HeadDecomposer())
    grouped = attributed(model, dla.GroupDecomposer(dla.HeadDecomposer(), {"all": lambda label: True}))
    assert grouped.labels == ["all", "rounding"]
    torch.testing.assert_close(grouped.part("rounding").values, rows.part("rounding").values)
    with pytest.raises(ValueError, match=r"The group 'a' lists 'rounding', and there is no such row"):
        attributed(model, dla.GroupDecomposer(dla.HeadDecomposer(), {"a": ["L0H0", "rounding"]}))


@each_half
def test_groups_of_a_result_are_looked_at_as_it_has_them(dtype: torch.dtype) -> None:
    """What is rounded away is no member of its layer, nor of the part whose pieces it was rounded away in."""
    parts = attributed(bridge("gpt2", dtype), dla.ComponentDecomposer())
    fine = parts.refine("1_attn_out", by=dla.HeadDecomposer())
    for result in (parts.group_by("layer"), fine.group_by("parent"), fine.group_by({"both": ["L1H1", "embed"]})):
        for label in result.labels:
            if label != "rounding":
                assert len(result.part(label).top_tokens(1).up) == 1
    for result, label in ((parts.group_by("kind"), "rounding"), (parts.group_by({"x": ["embed", "rounding"]}), "x")):
        with pytest.raises(ValueError, match=rf"'{label}' holds what many steps .* also those of the readout; that"):
            result.part(label).vector()
