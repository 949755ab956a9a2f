"""Measured effects are what runs give in which the model's own hooks take the part away, written by hand."""

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

import dla
import dla.demo
from dla.adapters.transformer_lens import TransformerLensAdapter
from dla.adapters.user_hooks import hooks_of
from dla.results import ablating
from dla.testing import TinyModel
from dla.testing.assertions import assert_close
from dla.testing.laws.compare import sum_size
from tests.dictionaries import RandomFeatures
from tests.subjects import GPT2, HOOKED_LN, each_of_a_few, params, some_tokens

HEADS, TOKENS, ASKED = dla.HeadDecomposer(), some_tokens(1), dla.LogitDifference(5, 9)
SHORT = some_tokens(1, 2, 4)
PROMPT = "When Mary and John went to the store , John gave a drink to"


def difference(logits: Tensor) -> Tensor:
    return logits[..., 5] - logits[..., 9]


def run(model: Any, *hooks: tuple[str, Callable[[Tensor], Tensor]]) -> Tensor:
    """The difference at the last position, of what the unembedding gives, under hooks of TransformerLens."""
    with torch.no_grad(), model.hooks(fwd_hooks=[(name, lambda x, hook, put=put: put(x)) for name, put in hooks]):
        return difference(model(TOKENS))[:, -1]


def without_head(head: int, positions: Any) -> Callable[[Tensor], Tensor]:
    def edit(z: Tensor) -> Tensor:
        z = z.clone()
        z[:, positions, head] = 0
        return z

    return edit


@pytest.mark.parametrize("subject", params([GPT2, HOOKED_LN, TinyModel("gpt2", processed=True)]))
@pytest.mark.parametrize(("at", "positions"), [("asked", -1), ("all", slice(None))])
def test_a_measured_effect_is_that_of_a_run_by_hand(subject: TinyModel, at: str, positions: Any) -> None:
    model = subject.model()
    result = dla.Attributor(model, HEADS).attribute(TOKENS, ASKED)
    effects = result.effects(["L0H1", "L1H2", "0_mlp_out"], at=at)
    by_hand = {
        "L0H1": ("blocks.0.attn.hook_z", without_head(1, positions)),
        "L1H2": ("blocks.1.attn.hook_z", without_head(2, positions)),
        "0_mlp_out": (
            "blocks.0.hook_mlp_out",
            lambda x: torch.cat([x[:, :-1], 0 * x[:, -1:]], 1) if at == "asked" else 0 * x,
        ),
    }
    for i, label in enumerate(effects.labels):
        expected = run(model) - run(model, by_hand[label])
        assert_close(effects.measured_effects[i], expected, sum_size(result), 4 * subject.eps, label)
    direct = result.direct_effects()
    places = [direct.labels.index(label) for label in effects.labels]
    assert_close(effects.direct_effects, direct.effects[places], sum_size(result), 4 * subject.eps)
    assert torch.equal(effects.values, result.values[places])
    assert hooks_of(model) == ()


@each_of_a_few
def test_repairs_add_up_and_earlier_parts_do_not_react(subject: TinyModel) -> None:
    """That they add up is checked in each run; here it is, too, in what the result holds."""
    result = dla.Attributor(subject.model(), HEADS).attribute(TOKENS, ASKED, pos=[2, -1])
    effects = result.effects(3)
    allowed = 16 * effects.tolerance
    assert bool(((effects.repairs.sum(1) - effects.repaired).abs() <= allowed).all())
    last = result.effects(["L1H0"])
    early = [i for i, row in enumerate(last.rows) if row.layer == 0 or (row.layer is None and row.kind != "norm")]
    late = [i for i, row in enumerate(last.rows) if row.kind == "mlp_out" and row.layer == 1]
    assert float(last.repairs[:, early].abs().max()) <= float(last.tolerance.max())
    if late and "parallel" not in subject.name and subject.name not in ("gpt_neox", "phi"):
        assert float(last.repairs[:, late].abs().max()) > 100 * float(last.tolerance.max())


KINDS: list[tuple[TinyModel, dla.Decomposer, list[str]]] = [
    (GPT2, dla.SourceDecomposer(), ["L0H1 ← 2", "L1H0 ← b_V"]),
    (GPT2, dla.NeuronDecomposer(), ["L0N3", "0_b_out"]),
    (GPT2, dla.ComponentDecomposer(), ["embed", "1_attn_out"]),
    (GPT2, dla.BlockDecomposer(), ["0_block"]),
    (TinyModel("mixtral"), dla.ExpertDecomposer(), ["L0E1", "L1E2"]),
    (TinyModel("gemma2"), HEADS, ["L0H1", "1_mlp_out"]),
    (TinyModel("granite-biases"), HEADS, ["L0H1", "1_b_O"]),
]


@pytest.mark.parametrize(("subject", "decomposer", "parts"), KINDS, ids=str)
def test_every_kind_of_part_is_taken_away(subject: TinyModel, decomposer: dla.Decomposer, parts: list[str]) -> None:
    """Nothing but the norm comes after the last MLP: there both effects agree, and only there."""
    result = dla.Attributor(subject.model(), decomposer).attribute(TOKENS, ASKED)
    effects = result.effects(parts)
    direct = result.direct_effects()
    for i, label in enumerate(parts):
        place = direct.labels.index(label)
        assert_close(effects.direct_effects[i], direct.effects[place], sum_size(result), 8 * subject.eps, label)
        if label == "1_mlp_out":
            assert_close(effects.measured_effects[i], direct.effects[place], sum_size(result), 8 * subject.eps, label)
        elif not label.startswith("L1E") and direct.values[place].abs().max() > 1e-4:
            assert not torch.allclose(effects.measured_effects[i], effects.direct_effects[i], atol=1e-5)


@pytest.mark.parametrize("subject", params([GPT2, TinyModel("granite-biases")]))
def test_a_feature_is_taken_away(subject: TinyModel) -> None:
    result = dla.Attributor(subject.model(), RandomFeatures()).attribute(TOKENS, ASKED)
    features = result.select(where=lambda label: re.search(r"mlp_out_F\d", str(label)) is not None)
    feature = features.top(1, by="abs")[0][0]
    effects = result.effects([feature, next(label for label in result.labels if label.endswith("_b_dec"))])
    direct = result.direct_effects().effects[result.labels.index(feature)]
    place = effects.labels.index(feature)
    assert_close(effects.direct_effects[place], direct, sum_size(result), 8 * subject.eps)


def test_several_parts_are_taken_away_together() -> None:
    model = GPT2.model()
    result = dla.Attributor(model, HEADS).attribute(TOKENS, ASKED)
    together = result.effects(["L0H1", "L1H2"], joint=True)
    expected = run(model) - run(
        model, ("blocks.0.attn.hook_z", without_head(1, -1)), ("blocks.1.attn.hook_z", without_head(2, -1))
    )
    assert together.labels == ["L0H1 + L1H2"]
    assert_close(together.measured_effects[0], expected, sum_size(result), 4 * GPT2.eps)
    grouped = result.group_by({"mine": ["L0H1", "L1H2"]})
    assert_close(grouped.effects(["mine"]).measured_effects[0], expected, sum_size(result), 4 * GPT2.eps)
    assert_close(together.values, grouped.select("mine").values, sum_size(result), GPT2.eps)


def test_other_ablations_than_zero() -> None:
    """The direct effect is that of the exchange: the part's vector, minus the one that takes its place."""
    model, other = GPT2.model(), some_tokens(7)
    result = dla.Attributor(model, HEADS).attribute(TOKENS, ASKED)
    _, cache = model.run_with_cache(other)
    z = cache["blocks.1.attn.hook_z"][:, -1, 2]

    def patched(own: Tensor) -> Tensor:
        own = own.clone()
        own[:, -1, 2] = z
        return own

    effects = result.effects(["L1H2"], ablation=dla.Resample(other))
    expected = run(model) - run(model, ("blocks.1.attn.hook_z", patched))
    assert_close(effects.measured_effects[0], expected, sum_size(result), 4 * GPT2.eps)
    gone = result.part("L1H2").vector()
    edited = dla.Attributor(model, HEADS).attribute(TOKENS, ASKED, edits=[dla.Edit("L1H2", dla.Resample(other), -1)])
    came = edited.part("L1H2").vector()
    norm, column = model.ln_final, model.unembed.W_U[:, 5] - model.unembed.W_U[:, 9]
    with torch.no_grad():
        _, cache = model.run_with_cache(TOKENS)
        stream = cache["blocks.1.hook_resid_post"][:, -1:]
        direct = ((norm(stream) - norm(stream - gone + came)) @ column)[:, 0]
    assert_close(effects.direct_effects[0], direct, sum_size(result), 8 * GPT2.eps)


def test_a_part_that_writes_zero_has_no_effect_and_no_one_reacts() -> None:
    model = GPT2.model()
    silent = dla.Edit("L0H1", dla.Zero())
    result = dla.Attributor(model, HEADS).attribute(TOKENS, ASKED, edits=[silent])
    effects = result.effects(["L0H1", "L1H1"])
    for numbers in (effects.values, effects.measured_effects, effects.direct_effects, effects.repairs):
        assert float(numbers[0].abs().max()) == 0
    expected = run(model, ("blocks.0.attn.hook_z", without_head(1, slice(None)))) - run(
        model,
        ("blocks.0.attn.hook_z", without_head(1, slice(None))),
        ("blocks.1.attn.hook_z", without_head(1, -1)),
    )
    assert_close(effects.measured_effects[1], expected, sum_size(result), 4 * GPT2.eps)


def test_a_part_that_an_edit_put_there_is_taken_away_again() -> None:
    model = GPT2.model()
    fixed = dla.Edit("L1H1", dla.Fixed(0.7))
    result = dla.Attributor(model, HEADS).attribute(TOKENS, ASKED, edits=[fixed])
    effects = result.effects(["L1H1"])
    expected = float(effects.values.abs().max())
    assert expected > 0
    after = result.logit - effects.measured_effects[0]

    def put_and_taken(z: Tensor) -> Tensor:
        z = z.clone()
        z[:, :, 1] = 0.7
        return without_head(1, -1)(z)

    hand = run(model, ("blocks.1.attn.hook_z", put_and_taken))
    assert_close(after, hand, sum_size(result), 4 * GPT2.eps)


def test_unequal_prompts_several_positions_and_directions() -> None:
    model = GPT2.model()
    prompts = [some_tokens(8, 1, 6)[0], some_tokens(9, 1, 4)[0]]
    asked = {"one": dla.Logit(5), "two": dla.Logit(6)}
    both = dla.Attributor(model, HEADS).attribute(prompts, asked, pos=None)
    effects = both.effects(["L0H1", "L1H2"])
    assert effects.measured_effects.shape == effects.values.shape == (2, 2, 2, 6)
    assert bool((effects.repaired.isnan() == effects.values.isnan()).all())
    alone = dla.Attributor(model, HEADS).attribute(prompts[1], dla.Logit(6), pos=None).effects(["L1H2"])
    of_two = effects.direction("two")
    torch.testing.assert_close(of_two.measured_effects[1, 1, :4], alone.measured_effects[0, 0], atol=1e-5, rtol=1e-4)
    assert {"label", "value", "direct_effect", "measured_effect", "repaired"} <= set(effects.to_dataframe().columns)
    assert len(effects.to_dataframe()) == 2 * 2 * 10
    assert str(effects).count("without each part") == 2


def test_a_hook_of_a_block_stays_on_in_the_runs_without_a_part() -> None:
    model = GPT2.model()

    def add(_module: Any, _args: Any, output: Any) -> Any:
        wave = torch.sin(torch.arange(32.0))
        return (output[0] + wave, *output[1:]) if isinstance(output, tuple) else output + wave

    handle = model.blocks[0].register_forward_hook(add)
    try:
        result = dla.Attributor(model, HEADS).attribute(TOKENS, ASKED)
        assert "edit blocks.0" in result.labels
        effects = result.effects(["L0H1"])
        expected = run(model) - run(model, ("blocks.0.attn.hook_z", without_head(1, -1)))
    finally:
        handle.remove()
    assert_close(effects.measured_effects[0], expected, sum_size(result), 4 * GPT2.eps)


def test_ten_heads_take_twelve_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    plain = TransformerLensAdapter.run

    def counting(*args: Any) -> Tensor:
        passes.append(1)
        return plain(*args)

    model = dla.demo.load_small("raw")
    attributor = dla.Attributor(model, HEADS)
    monkeypatch.setattr(TransformerLensAdapter, "run", counting)
    attributor.attribute(PROMPT, dla.Logit(" Mary")).effects(10)
    assert len(passes) == 12


def test_the_look_of_effects_and_of_a_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    result = dla.Attributor(dla.demo.load_small("raw"), HEADS).attribute(PROMPT, dla.LogitDifference(" Mary", " John"))
    effects = result.effects(3)
    text = str(effects)
    for word in ("value", "direct", "measured", "repaired", "most by", *effects.labels):
        assert word in text
    repair = effects.repair(effects.labels[0])
    assert "the final norm" in str(repair)
    assert str(repair).count("repaired") == 1
    assert repair.top(1)[0] == tuple(repair.to_dataframe().iloc[0])
    assert "<table>" in effects._repr_html_()
    assert "<table>" in repair._repr_html_()
    assert repr(effects) == "Effects(logit difference ' Mary' - ' John', Zero(), at='asked': 3 parts)"
    assert repr(repair).startswith("Repair(of 'L1H")


def test_wrong_questions() -> None:
    model = GPT2.fresh()
    result = dla.Attributor(model, HEADS).attribute(TOKENS, ASKED)
    wrong: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: result.effects(99), ValueError, "parts=99, and there are 14 rows that could be taken away."),
        (lambda: result.effects(0), ValueError, "parts=0"),
        (lambda: result.effects(["L9H9"]), ValueError, "L9H9"),
        (lambda: result.effects([]), ValueError, "parts is empty, so nothing would be taken away. Pass one label"),
        (lambda: result.effects(None), TypeError, "parts=None. Pass how many of the strongest, or labels"),  # type: ignore[arg-type]
        (lambda: result.effects(2, at="last"), ValueError, "at='last'; pass 'asked' or 'all'."),
        (lambda: result.effects(2, ablation=dla.Zero), TypeError, "an instance, such as dla.Zero()"),  # type: ignore[arg-type]
        (lambda: result.effects(["L0H0"], ablation=dla.Fixed(torch.ones(3))), ValueError, "the vector has 3 numbers"),
        (
            lambda: result.effects(["L0H0"], ablation=dla.Resample(some_tokens(1, 2, 4))),
            ValueError,
            "Reword them to the same number",
        ),
    ]
    for ask, error, message in wrong:
        with pytest.raises(error, match=re.escape(message)):
            ask()
    lens = dla.Attributor(model, dla.LensDecomposer()).attribute(TOKENS, ASKED)
    with pytest.raises(ValueError, match="none is a part that could be taken away"):
        lens.effects(2)
    top = dla.Attributor(model, dla.NeuronDecomposer(top_k=2)).attribute(TOKENS, ASKED)
    with pytest.raises((ValueError, dla.UnsupportedModelError)):
        top.effects(["0_other_neurons"])
    model.blocks[0].hook_resid_pre.register_forward_hook(lambda _, args, output: 2 * output)
    with pytest.raises(dla.RunChangedError):
        result.effects(1)


def test_an_ablation_with_prompts_leaves_the_title_readable() -> None:
    result = dla.Attributor(GPT2.model(), HEADS).attribute(TOKENS, ASKED)
    assert result.effects(1).ablation == "Zero()"
    assert result.effects(1, ablation=dla.Mean(TOKENS)).ablation == "Mean(...)"


def test_tables_of_several_directions_fit_and_fold() -> None:
    """Effects, shares and differences print as attributions do: a table a direction, those after two folded."""
    asked = {name: dla.Logit(i) for i, name in enumerate("abc")}
    result = dla.Attributor(GPT2.model(), HEADS).attribute(TOKENS, asked)
    for printed in (
        result,
        result.effects(2),
        result.direct_effects(),
        result.group_by("kind").shares(),
        result - result,
    ):
        assert printed._repr_html_().count("<details><summary>c</summary>") == 1
        console = Console(width=44, file=io.StringIO())
        console.print(printed)
        assert max(map(len, console.file.getvalue().splitlines())) <= 44  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match="for one direction at a time"):
            printed.table()
        with pytest.raises(ValueError, match="shown=-1"):
            printed.direction("a").table(-1)


def test_a_result_from_a_file_is_refused(tmp_path: Any) -> None:
    dla.Attributor(GPT2.model(), HEADS).attribute(TOKENS, ASKED).save(tmp_path / "a.nc")
    with pytest.raises(ValueError, match="effects runs the model again, and this result was read from a file"):
        dla.load(tmp_path / "a.nc").effects(1)


def test_a_wrong_repair_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: repairs whose old values are not put on the scale of the new run; parts that do not react seem to."""
    right = ablating.Remover._scales

    def off_scale(*args: Any) -> Any:
        read, removed, reaction, ratio = right(*args)
        return read, removed, reaction, 1.01 * ratio

    monkeypatch.setattr(ablating.Remover, "_scales", off_scale)
    with pytest.raises(AssertionError):
        test_repairs_add_up_and_earlier_parts_do_not_react(GPT2)
