"""An attribution under edits is that of a run in which the model's own hooks do the same, written by hand."""

import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

import dla
import dla.demo
from dla.adapters.user_hooks import hooks_of
from dla.edits import planning
from dla.edits.places import Slice
from dla.testing import TinyModel
from dla.testing.assertions import assert_close
from dla.testing.laws.compare import sum_size
from tests.dictionaries import RandomFeatures
from tests.subjects import GPT2, HOOKED_LN, each_of_a_few, needs_hooked_transformer, params, some_tokens

Hook = tuple[str, Callable[[Tensor], Tensor]]
HEADS, TOKENS, OTHERS = dla.HeadDecomposer(), some_tokens(1), some_tokens(2)
PROMPT = "When Mary and John went to the store , John gave a drink to"
NEURONS, FEATURES = HEADS | dla.NeuronDecomposer(), RandomFeatures()
DECOMPOSERS = [HEADS, dla.ComponentDecomposer(), dla.SourceDecomposer(), dla.BlockDecomposer(), NEURONS]
WAVE = torch.sin(torch.arange(32.0))


def entry(*index: Any, value: Any = 0.0) -> Callable[[Tensor], Tensor]:
    """Puts a value into some entries of an activation."""

    def put(activation: Tensor) -> Tensor:
        activation = activation.clone()
        activation[index] = value(activation[index]) if callable(value) else value
        return activation

    return put


def logits_by_hand(model: Any, *hooks: Hook) -> Tensor:
    """What the model returns under hooks of TransformerLens."""
    with torch.no_grad(), model.hooks(fwd_hooks=[(name, lambda x, hook, put=put: put(x)) for name, put in hooks]):
        logits: Tensor = model(TOKENS)
    return logits


ALL = slice(None)


class Halved(dla.Ablation):
    def replace(self, own: dla.Written, other: dla.Written | None) -> Tensor:
        return own.values / 2


def z_of(model: Any, tokens: Tensor) -> Tensor:
    _, cache = model.run_with_cache(tokens)
    z: Tensor = cache["blocks.1.attn.hook_z"]
    return z


CASES: dict[str, tuple[dla.Edit, Callable[[Any], Hook]]] = {
    "head": (dla.Edit("L0H1", dla.Zero()), lambda model: ("blocks.0.attn.hook_z", entry(ALL, ALL, 1))),
    "head at a position": (
        dla.Edit("L1H2", dla.Fixed(0.5), pos=[1, -1]),
        lambda model: ("blocks.1.attn.hook_z", entry(ALL, [1, 5], 2, value=0.5)),
    ),
    "source": (
        dla.Edit("L1H0 ← 2", dla.Zero()),
        lambda model: ("blocks.1.attn.hook_pattern", entry(ALL, 0, ALL, 2)),
    ),
    "neuron": (
        dla.Edit("L0N3", dla.Fixed(2.0)),
        lambda model: ("blocks.0.mlp.hook_post", entry(ALL, ALL, 3, value=2.0)),
    ),
    "steered": (
        dla.Edit("blocks.1.hook_resid_pre", dla.Add(WAVE), pos=2),
        lambda model: ("blocks.1.hook_resid_pre", entry(ALL, 2, value=lambda x: x + WAVE)),
    ),
    "patched": (
        dla.Edit("L1H3", dla.Resample(OTHERS)),
        lambda model: ("blocks.1.attn.hook_z", entry(ALL, ALL, 3, value=z_of(model, OTHERS)[:, :, 3])),
    ),
    "mean": (
        dla.Edit("L1H3", dla.Mean(OTHERS)),
        lambda model: ("blocks.1.attn.hook_z", entry(ALL, ALL, 3, value=z_of(model, OTHERS)[:, :, 3].mean((0, 1)))),
    ),
    "mean by position": (
        dla.Edit("L1H3", dla.Mean(OTHERS, by_position=True)),
        lambda model: ("blocks.1.attn.hook_z", entry(ALL, ALL, 3, value=z_of(model, OTHERS)[:, :, 3].mean(0))),
    ),
    "embedding": (dla.Edit("embed", dla.Zero(), pos=3), lambda model: ("hook_embed", entry(ALL, 3))),
    "attention": (dla.Edit("0_attn_out", dla.Zero()), lambda model: ("blocks.0.hook_attn_out", entry(ALL))),
    "bias": (
        dla.Edit("1_b_O", dla.Zero()),
        lambda model: ("blocks.1.hook_attn_out", entry(ALL, value=lambda x: x - b_O(model))),
    ),
    "bias at a position": (
        dla.Edit("1_b_O", dla.Zero(), pos=4),
        lambda model: ("blocks.1.hook_attn_out", entry(ALL, 4, value=lambda x: x - b_O(model))),
    ),
}


def b_O(model: Any) -> Tensor:
    """The output bias of the last attention, as the model of this library's catalogue has it."""
    attention = model.blocks[1].attn
    bias = getattr(attention, "b_O", None)
    found: Tensor = attention.o.original_component.bias if bias is None else bias
    return found


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("subject", params([GPT2, HOOKED_LN, TinyModel("gpt2", processed=True)]))
def test_an_edit_does_what_a_hook_of_ones_own_does(subject: TinyModel, name: str) -> None:
    model, (edit, by_hand) = subject.model(), CASES[name]
    expected = logits_by_hand(model, by_hand(model))[:, :, 5]
    plain = logits_by_hand(model)[:, :, 5]
    assert not torch.allclose(expected, plain, atol=1e-4)
    decomposers = [HEADS] if name.startswith("bias") else DECOMPOSERS
    for decomposer in decomposers:
        result = dla.Attributor(model, decomposer).attribute(TOKENS, dla.Logit(5), pos=None, edits=[edit])
        assert_close(result.output_logit, expected, sum_size(result), subject.eps, type(decomposer).__name__)
        if name in ("head", "attention", "embedding") and edit.part in result.labels and edit.pos is None:
            assert bool((result.select(str(edit.part)).values == 0).all())
    after = dla.Attributor(model, HEADS).attribute(TOKENS, dla.Logit(5), pos=None)
    assert_close(after.output_logit, plain, sum_size(after), subject.eps)
    assert hooks_of(model) == ()


@each_of_a_few
def test_every_decomposition_adds_up_under_edits(subject: TinyModel) -> None:
    """The sum is compared with the model's own logit by `attribute` itself."""
    model = subject.model()
    where = dla.adapt(model).anatomy.blocks[1]
    parts = ["L0H0", "0_attn_out", "embed", where.resid_pre.site.name, where.resid_post.site.name]
    for decomposer in [*DECOMPOSERS, dla.LayerDecomposer(), dla.LensDecomposer(), RandomFeatures()]:
        if (
            isinstance(decomposer, dla.NeuronDecomposer | dla.MixedDecomposer | RandomFeatures)
            and "attention" in subject.name
        ):
            continue
        attributor = dla.Attributor(model, decomposer)
        plain = attributor.attribute(TOKENS, dla.Logit(5))
        # No multiple of 1, which LayerNorm would not notice.
        wave = torch.sin(torch.arange(float(model.cfg.d_model)))
        edits = [dla.Edit(part, dla.Add(0.5 if part == "L0H0" else wave * (i + 1))) for i, part in enumerate(parts)]
        result = attributor.attribute(TOKENS, dla.Logit(5), edits=edits)
        assert not torch.allclose(result.logit, plain.logit)


@pytest.mark.parametrize("name", ["mixtral", "granite-biases", "olmo2", "gemma2"])
def test_parts_without_an_activation_of_their_own_are_taken_out_of_the_output(name: str) -> None:
    """An expert, a feature and a bias: the stream afterwards is what it was minus the part's own vector there."""
    model = TinyModel(name).model()
    decomposer = dla.ExpertDecomposer() if name == "mixtral" else RandomFeatures()
    attributor = dla.Attributor(model, decomposer)
    block = dla.adapt(model).anatomy.blocks[0].resid_post
    at = dla.ResidualVector(
        torch.randn(model.cfg.d_model, generator=torch.Generator().manual_seed(1)), at=block.site.name
    )
    plain = attributor.attribute(TOKENS, at, pos=None)
    label = max(
        (label for label in plain.labels if label.startswith(("L0E", "0_mlp_out_F", "0_mlp_out_b_dec"))),
        key=lambda label: float(plain.select(label).values.abs().sum()),
    )
    result = attributor.attribute(TOKENS, at, pos=None, edits=[dla.Edit(label, dla.Zero())])
    lost = plain.select(label).values[0]
    assert bool((lost != 0).any())
    assert_close(plain.logit - result.logit, lost, sum_size(plain) + sum_size(result), 1e-6)


class Gained(dla.Decomposer):
    """Each block by the stream before and after it."""

    def writes(self, model: dla.ModelAdapter) -> list[dla.Write]:
        ends = [(block.resid_pre.site, block.resid_post.site) for block in model.anatomy.blocks]
        return [*model.embeddings(), *(dla.Change(*pair, dla.Label("gained", i)) for i, pair in enumerate(ends))]


OPAQUE = [("bloom-post-residual", 1), ("bloom-post-residual", 0), ("rwkv", 0)]


@pytest.mark.parametrize(("name", "layer"), [("gpt2", 1), *OPAQUE])
def test_what_is_added_before_a_block_that_is_one_part_is_a_row(name: str, layer: int) -> None:
    """What enters such a block is read to tell what it gains, and no row holds it."""
    decomposer, model = Gained() if name == "gpt2" else dla.BlockDecomposer(), TinyModel(name).model()
    wave, place = torch.sin(torch.arange(float(model.cfg.d_model))), f"blocks.{layer}.hook_resid_pre"
    edits = [dla.Edit(place, dla.Add(wave))]
    result = dla.Attributor(model, decomposer).attribute(TOKENS, dla.Logit(5), edits=edits)
    torch.testing.assert_close(result.part(f"edit {place}").vector(), wave.expand(2, 1, -1), atol=1e-5, rtol=0)


def test_a_group_is_all_its_members() -> None:
    model = GPT2.model()
    grouped = dla.GroupDecomposer(HEADS, {"mine": ["L0H0", "L0H2", "1_mlp_out"]})
    result = dla.Attributor(model, grouped).attribute(TOKENS, dla.Logit(5), edits=[dla.Edit("mine", dla.Zero())])
    expected = logits_by_hand(
        model,
        ("blocks.0.attn.hook_z", entry(ALL, ALL, [0, 2])),
        ("blocks.1.hook_mlp_out", entry(ALL)),
    )
    assert_close(result.output_logit, expected[:, -1, 5], sum_size(result), GPT2.eps)
    assert bool((result.select("mine").values == 0).all())


def test_a_group_is_edited_once_where_an_earlier_place_is_asked_about() -> None:
    grouped = dla.GroupDecomposer(HEADS, {"mine": ["L0H0", "L0H2"]})
    early = dla.ResidualVector(WAVE, at="blocks.1.hook_resid_pre")
    edits = [[dla.Edit("mine", dla.Add(1.0))], [dla.Edit(head, dla.Add(1.0)) for head in ("L0H0", "L0H2")]]
    results = [dla.Attributor(GPT2.model(), grouped).attribute(TOKENS, early, edits=some) for some in edits]
    assert_close(results[0].logit, results[1].logit, sum_size(results[0]), GPT2.eps)


def test_prompts_of_unequal_lengths_are_edited_where_each_has_the_positions() -> None:
    """A slice gives a short prompt fewer positions, and the others are none of its own."""
    attributor, short = dla.Attributor(dla.demo.load_small("raw"), HEADS), "When Mary and John went"
    edits = [dla.Edit("L0H2", dla.Fixed(1.0), pos=slice(3, None))]
    together = attributor.attribute([PROMPT, short], dla.Logit(" Mary"), edits=edits)
    for i, prompt in enumerate((PROMPT, short)):
        alone = attributor.attribute(prompt, dla.Logit(" Mary"), edits=edits)
        assert_close(together.values[:, i], alone.values[:, 0], sum_size(alone), 1e-6)


def test_the_prompts_of_an_ablation_run_without_edits() -> None:
    model = GPT2.model()
    edits = [dla.Edit("blocks.0.hook_resid_pre", dla.Add(WAVE))]
    result = dla.Attributor(model, HEADS).attribute(TOKENS, dla.Logit(5), edits=edits)
    mean = z_of(model, OTHERS)[:, :, 3].mean((0, 1))
    by_hand, own = (result.effects(["L1H3"], ablation=a, at="all") for a in (dla.Fixed(mean), dla.Mean(OTHERS)))
    assert_close(own.measured_effects, by_hand.measured_effects, sum_size(result), GPT2.eps)


@pytest.mark.parametrize("subject", params([GPT2, TinyModel("granite-biases"), TinyModel("llama")]))
def test_an_edit_of_a_row_is_what_its_effect_measures(subject: TinyModel) -> None:
    """Each row once, also those that are sums: what `Add` puts there twice is there twice."""
    model = subject.model()
    for decomposer in (
        dla.GroupDecomposer(HEADS, {"mine": ["L0H0", "L1H2"]}),
        dla.BiasDecomposer(),
        dla.BlockDecomposer(),
    ):
        attributor = dla.Attributor(model, decomposer)
        plain = attributor.attribute(TOKENS, dla.Logit(5))
        for label in plain.labels:
            effect = plain.effects([label], ablation=Halved(), at="all").measured_effects[0]
            edited = attributor.attribute(TOKENS, dla.Logit(5), edits=[dla.Edit(label, Halved())])
            assert_close(plain.logit - edited.logit, effect, sum_size(plain), subject.eps, label)


def test_heads_without_their_value_bias_leave_it_where_it_is() -> None:
    """By hand: the row's own vector, taken out of the attention's output."""
    model = GPT2.model()
    attributor = dla.Attributor(model, dla.BiasDecomposer())
    plain = attributor.attribute(TOKENS, dla.Logit(5), pos=None)
    at = dla.ResidualVector(torch.ones(32), at="blocks.0.hook_resid_mid")
    vector = dla.Attributor(model, dla.BiasDecomposer()).attribute(TOKENS, at, pos=None).part("0_heads").vector()
    expected = logits_by_hand(model, ("blocks.0.hook_attn_out", lambda output: output - vector))[..., 5]
    edited = attributor.attribute(TOKENS, dla.Logit(5), pos=None, edits=[dla.Edit("0_heads", dla.Zero())])
    assert_close(edited.output_logit, expected, sum_size(plain), 4 * GPT2.eps)
    bias = plain.part("0_b_V").vector()
    torch.testing.assert_close(edited.part("0_b_V").vector(), bias, atol=1e-5, rtol=1e-4)


@needs_hooked_transformer
def test_both_model_classes_agree_under_edits() -> None:
    edits = [dla.Edit("L0H1", dla.Zero()), dla.Edit("blocks.1.hook_resid_pre", dla.Add(0.3))]
    results = [
        dla.Attributor(dla.demo.load_small(kind), HEADS).attribute(PROMPT, dla.Logit(" Mary"), edits=edits)
        for kind in ("hooked", "bridge")
    ]
    assert results[0].labels == results[1].labels
    assert_close(results[0].values, results[1].values, sum_size(results[0]), 1e-6)


def test_the_mean_over_the_prompts_of_a_sweep(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few prompts at a time, of unequal lengths; padding is in no mean."""
    monkeypatch.setattr(planning, "_TOKENS_AT_A_TIME", 32)
    attributor = dla.Attributor(dla.demo.load_small("raw"), HEADS)
    prompts = [PROMPT, "When Anna and Tom went to the park , Tom gave a book to", PROMPT.replace("the ", "")]
    frame = pd.DataFrame({"prompt": prompts, "answer": [" Mary", " Anna", " Mary"]})
    folder = dla.sweep(frame, attributor, tmp_path / "sweep", progress=False)
    assert folder.prompts() == prompts
    head = [dla.Edit("L1H1", dla.Mean(some)) for some in (folder, prompts)]
    results = [attributor.attribute(PROMPT, dla.Logit(" Mary"), edits=[edit]) for edit in head]
    assert torch.equal(results[0].values, results[1].values)
    z = torch.cat([attributor.model.source.run_with_cache(p)[1]["blocks.1.attn.hook_z"][0, :, 1] for p in prompts])
    fixed = attributor.attribute(PROMPT, dla.Logit(" Mary"), edits=[dla.Edit("L1H1", dla.Fixed(z.mean(0)))])
    assert_close(results[0].values, fixed.values, sum_size(fixed), 1e-6)


def test_an_edit_that_changes_nothing_changes_nothing() -> None:
    class Same(dla.Ablation):
        def replace(self, own: dla.Written, other: dla.Written | None) -> Tensor:
            return own.values

    attributor = dla.Attributor(GPT2.model(), HEADS)
    plain = attributor.attribute(TOKENS, dla.Logit(5))
    result = attributor.attribute(TOKENS, dla.Logit(5), edits=[dla.Edit("L0H1", Same()), dla.Edit("0_mlp_out", Same())])
    assert torch.equal(result.values, plain.values)
    assert torch.equal(result.logit, plain.logit)


def test_later_questions_are_answered_for_the_edited_run() -> None:
    model = GPT2.model()
    edits = [dla.Edit("L0H1", dla.Zero()), dla.Edit("blocks.1.hook_resid_pre", dla.Add(1.0))]
    result = dla.Attributor(model, HEADS).attribute(TOKENS, dla.Logit(5), edits=edits)
    assert bool((result.part("L0H1").vector() == 0).all())
    torch.testing.assert_close(
        result.part("edit blocks.1.hook_resid_pre").vector(), torch.ones(2, 1, model.cfg.d_model), atol=1e-5, rtol=0
    )
    pieces = result.refine("L1H1", by=dla.SourceDecomposer())
    assert_close(pieces.total, result.total, sum_size(result), GPT2.eps)
    effects = result.direct_effects()
    assert float(effects.effects[result.labels.index("L0H1")].abs().max()) == 0
    plain = dla.Attributor(model, HEADS).attribute(TOKENS, dla.Logit(5))
    assert not torch.allclose(result.part("L1H1").vector(), plain.part("L1H1").vector())


def test_no_hook_stays_after_an_error_or_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopping(dla.Ablation):
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def replace(self, own: dla.Written, other: dla.Written | None) -> Tensor:
            raise self.error

    model = GPT2.model()
    attributor = dla.Attributor(model, HEADS)
    plain = attributor.attribute(TOKENS, dla.Logit(5))
    for error in (KeyboardInterrupt(), ValueError("mine")):
        with pytest.raises(type(error)):
            attributor.attribute(TOKENS, dla.Logit(5), edits=[dla.Edit("L0H1", Stopping(error))])
        assert hooks_of(model) == ()
        assert torch.equal(attributor.attribute(TOKENS, dla.Logit(5)).values, plain.values)
    monkeypatch.setattr(Slice, "put", lambda *args: None)
    with pytest.raises(AssertionError):  # the twin: an edit that is not made is noticed by the first test
        test_an_edit_does_what_a_hook_of_ones_own_does(GPT2, "head")


LONGER = some_tokens(1, 1, 9)
WRONG: list[tuple[Any, type[Exception], str]] = [
    (dla.Edit("L0H0", dla.Zero()), TypeError, "is one edit. Pass a list: edits=[...]."),
    ([dla.Edit("L0H0 ← 2 'zzz'", dla.Zero())], ValueError, "at position 2 there is another token in each prompt"),
    (["L0H0"], TypeError, "'L0H0' is no edit."),
    ([dla.Edit("L0H99", dla.Zero())], ValueError, "There is no part 'L0H99': layer 0 has 4 heads."),
    ([dla.Edit("L7H0", dla.Zero())], ValueError, "There is no part 'L7H0': the model has 2 layers."),
    ([dla.Edit("L0N9999", dla.Zero())], ValueError, "There is no part 'L0N9999': layer 0 has"),
    (
        [dla.Edit("blocks.9.hook_resid_pre", dla.Zero())],
        ValueError,
        "There is no part 'blocks.9.hook_resid_pre'",
    ),
    ([dla.Edit("nobody", dla.Zero())], ValueError, "There is no part 'nobody'"),
    ([dla.Edit("L0H0 ← 17", dla.Zero())], ValueError, "There is no source 17: the prompts have 6 tokens."),
    ([dla.Edit("L0H0", dla.Zero()), dla.Edit("L0H0", dla.Fixed(1.0))], ValueError, "There are two edits of 'L0H0'"),
    (
        [dla.Edit("L0H0", dla.Fixed(torch.ones(3)))],
        ValueError,
        "the vector has 3 numbers, and what the part writes there",
    ),
    ([dla.Edit("L0H0", dla.Add(torch.ones(64)))], ValueError, "Add: the vector has 64 numbers"),
    ([dla.Edit("L0H0", dla.Zero(), pos=17)], ValueError, "pos=17 is out of range"),
    (
        [dla.Edit("L0H0", dla.Resample(some_tokens(1, 1, 9)))],
        ValueError,
        "its prompts have 9 tokens, and those that are attributed 6",
    ),
    (
        [dla.Edit("L0H0", dla.Resample(some_tokens(1, 3, 6)))],
        ValueError,
        "Resample has 3 prompts for 2 that are attributed",
    ),
    (
        [dla.Edit("L0H0", dla.Mean(some_tokens(1, 1, 9), by_position=True))],
        ValueError,
        "take Mean(prompts), which needs no",
    ),
]


@pytest.mark.parametrize(("edits", "error", "message"), WRONG, ids=[message[:30] for _, _, message in WRONG])
def test_what_is_no_edit_is_refused(edits: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        dla.Attributor(GPT2.model(), HEADS).attribute(TOKENS, dla.Logit(5), edits=edits)


def test_edits_and_a_cache_exclude_each_other() -> None:
    model = GPT2.model()
    _, cache = model.run_with_cache(TOKENS)
    with pytest.raises(ValueError, match=r"A cache holds a run without the edits"):
        dla.Attributor(model, HEADS).attribute(TOKENS, dla.Logit(5), cache=cache, edits=[dla.Edit("L0H0", dla.Zero())])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dla.Fixed("a"), "Fixed: vector is 'a'. Pass a floating-point tensor [width] of finite numbers,"),
        (lambda: dla.Add([1.0, 2.0]), "Add: vector is [1.0, 2.0]. Pass a floating-point tensor [width]"),
        (lambda: dla.Fixed(torch.arange(4)), "Pass a floating-point tensor [width]"),
        (lambda: dla.Fixed(torch.full((4,), torch.nan)), "of finite numbers, or one number."),
        (lambda: dla.Fixed(float("inf")), "Fixed: vector is inf. Pass a"),
        (lambda: dla.Add(torch.ones(2, 2)), "Add: vector is"),
        (lambda: dla.Mean(None), "Mean needs prompts."),
        (lambda: dla.Edit("L0H0", dla.Zero), "ablation is the class Zero. Pass an Ablation."),
        (lambda: dla.Edit(3, dla.Zero()), "part"),
    ],
)
def test_what_is_no_ablation_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        make()


def test_an_ablation_of_ones_own_must_fit_the_part() -> None:
    class Wide(dla.Ablation):
        def replace(self, own: dla.Written, other: dla.Written | None) -> Any:
            return torch.zeros(1, 1, 999)

    class Infinite(dla.Ablation):
        def replace(self, own: dla.Written, other: dla.Written | None) -> Any:
            return own.values / 0

    attributor = dla.Attributor(GPT2.model(), HEADS)
    for ablation, message in (
        (Wide(), "Give one vector for all prompts and"),
        (Infinite(), "numbers that are not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            attributor.attribute(TOKENS, dla.Logit(5), edits=[dla.Edit("L0H0", ablation)])
