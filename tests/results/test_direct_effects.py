"""Direct effects are what real runs give in which one row's vector is taken out before the final norm."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

import dla
from dla.adapters.transformer_lens import TransformerLensAdapter
from dla.testing import TinyModel
from tests.subjects import DECOMPOSERS, GPT2, each_of_a_few, needs_hooked_transformer, params, some_ids, some_tokens

_ROWS = 9  # of which a real run is made

ADDITIVE = [each for each in DECOMPOSERS if not isinstance(each, dla.LayerDecomposer | dla.LensDecomposer)]


def raw_logits(model: Any, tokens: Tensor, taken: Tensor | None = None) -> Tensor:
    """What the unembedding puts out when a vector per position is taken out of what enters the final norm."""
    seen: list[Tensor] = []
    norm = getattr(model, "ln_final", None)
    handles = [model.unembed.register_forward_hook(lambda _, args, output: seen.append(output))]
    if taken is not None:
        entry = model.unembed if norm is None else norm
        handles.append(entry.register_forward_pre_hook(lambda _, args: (args[0] - taken.to(args[0]), *args[1:])))
    try:
        with torch.no_grad():
            model(tokens)
    finally:
        for handle in handles:
            handle.remove()
    return seen[0]


def measured_effect(model: Any, tokens: Tensor, vector: Tensor, answers: Tensor, others: Tensor) -> Tensor:
    """The logit difference with everything, minus that without a vector at each position."""

    def difference(logits: Tensor) -> Tensor:
        return logits.gather(-1, answers.unsqueeze(-1)) - logits.gather(-1, others.unsqueeze(-1))

    return (difference(raw_logits(model, tokens)) - difference(raw_logits(model, tokens, vector))).squeeze(-1)


def assert_measured(model: Any, decomposer: dla.Decomposer, tokens: Tensor, after: Any = lambda result: result) -> None:
    answers, others = some_ids(1, *tokens.shape), some_ids(2, *tokens.shape)
    asked = dla.LogitDifference(answers, others)
    result = after(dla.Attributor(model, decomposer).attribute(tokens, asked, pos=None))
    effects = result.direct_effects()
    assert effects.labels == result.labels
    for i in range(0, len(result.labels), max(1, len(result.labels) // _ROWS)):
        if result.labels[i] == "rounding":
            continue
        truth = measured_effect(model, tokens, result.part(result.labels[i]).vector(), answers, others)
        allowed = effects.tolerance[i] + 4 * result.tolerance
        assert bool(((effects.effects[i] - truth).abs() <= allowed).all()), result.labels[i]


@each_of_a_few
def test_an_effect_is_that_of_a_run_without_the_head(subject: TinyModel) -> None:
    assert_measured(subject.model(), dla.HeadDecomposer(), some_tokens(0))


@pytest.mark.parametrize("decomposer", ADDITIVE, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("subject", params([TinyModel("olmo2"), GPT2]))
def test_every_kind_of_row_is_measured(subject: TinyModel, decomposer: dla.Decomposer) -> None:
    assert_measured(subject.model(), decomposer, some_tokens(3))


@pytest.mark.parametrize(
    ("subject", "decomposer"),
    [
        (TinyModel("granite-biases"), dla.NeuronDecomposer()),
        (TinyModel("granite-biases"), dla.SourceDecomposer()),
        (TinyModel("mixtral"), dla.ExpertDecomposer()),
    ],
    ids=str,
)
def test_multipliers_and_experts_are_measured(subject: TinyModel, decomposer: dla.Decomposer) -> None:
    assert_measured(subject.model(), decomposer, some_tokens(4))


COARSER = {
    "layers": lambda result: result.group_by("layer"),
    "a group across blocks": lambda result: result.group_by({"mine": ["L0H0", "L1H1"]}),
    "refined": lambda result: result.refine("1_mlp_out", by=dla.NeuronDecomposer()),
    "selected": lambda result: result.select(kind="head"),
}


@pytest.mark.parametrize("name", COARSER)
def test_rows_that_were_grouped_or_refined_are_measured(name: str) -> None:
    assert_measured(GPT2.model(), dla.HeadDecomposer(), some_tokens(5), COARSER[name])


def test_rows_that_depend_on_values_are_measured() -> None:
    assert_measured(GPT2.model(), dla.NeuronDecomposer(top_k=3), some_tokens(6))


@needs_hooked_transformer
def test_without_a_final_norm_an_effect_is_the_value() -> None:
    result = dla.Attributor(TinyModel("no-norm", "hooked").model(), dla.HeadDecomposer()).attribute(
        some_tokens(7), dla.Logit(5)
    )
    effects = result.direct_effects()
    torch.testing.assert_close(effects.effects, result.values)


def test_the_axes_are_those_of_the_values() -> None:
    model = GPT2.model()
    attributor = dla.Attributor(model, dla.HeadDecomposer())
    prompts = [some_tokens(8, 1, 6)[0], some_tokens(9, 1, 4)[0]]
    both = attributor.attribute(prompts, {"one": dla.Logit(5), "two": dla.Logit(6)}, pos=None)
    alone = attributor.attribute(prompts[1], dla.Logit(6), pos=-1)
    effects, single = both.direct_effects(), alone.direct_effects()
    assert effects.effects.shape == both.values.shape
    assert bool((effects.effects.isnan() == both.values.isnan()).all())
    torch.testing.assert_close(
        effects.direction("two").effects[:, 1, 3], single.effects.flatten(), atol=1e-5, rtol=1e-4
    )
    frame = effects.to_dataframe()
    assert len(frame) == int((~both.values.isnan()).sum())
    torch.testing.assert_close(frame.value + frame.norm_reaction, frame.direct_effect)


def test_the_strongest_are_ranked_by_what_is_asked() -> None:
    effects = (
        dla.Attributor(GPT2.model(), dla.HeadDecomposer()).attribute(some_tokens(1), dla.Logit(5)).direct_effects()
    )
    means = effects.effects.mean(-1)
    assert effects.top(1)[0][0] == effects.labels[int(means.abs().argmax())]
    assert effects.top(1, by="value")[0][0] == effects.labels[int(means.argmax())]
    assert effects.top(1, by="reaction")[0][0] == effects.labels[int(effects.reactions.mean(-1).abs().argmax())]
    with pytest.raises(ValueError, match=re.escape("by='most'; pass 'abs', 'value' or 'reaction'.")):
        effects.top(by="most")


@pytest.mark.parametrize("decomposer", [dla.LayerDecomposer(), dla.LensDecomposer()])
def test_streams_are_not_removed(decomposer: dla.Decomposer) -> None:
    result = dla.Attributor(GPT2.model(), decomposer).attribute(some_tokens(1), dla.Logit(5))
    with pytest.raises(ValueError, match="none is a part that could be removed"):
        result.direct_effects()


def test_a_model_that_changed_is_refused() -> None:
    model = GPT2.fresh()
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(some_tokens(1), dla.Logit(5))
    model.blocks[0].hook_resid_pre.register_forward_hook(lambda _, args, output: 2 * output)
    with pytest.raises(dla.RunChangedError):
        result.direct_effects()


def test_all_rows_take_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    result = dla.Attributor(GPT2.model(), dla.NeuronDecomposer()).attribute(some_tokens(1), dla.Logit(5))
    passes, run = [], TransformerLensAdapter.run

    def counting(*args: Any) -> Tensor:
        passes.append(1)
        return run(*args)

    monkeypatch.setattr(TransformerLensAdapter, "run", counting)
    result.direct_effects()
    assert len(passes) == 1


def test_in_half_precision_the_stream_that_was_is_taken() -> None:
    """By hand, in float64: the RMSNorm and the unembedding of the stream with and without the head."""
    model, tokens = TinyModel("llama", dtype=torch.bfloat16).model(), some_tokens(2)
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(tokens, dla.Logit(5))
    seen: list[Tensor] = []
    handle = model.ln_final.register_forward_pre_hook(lambda _, args: seen.append(args[0].double()))
    try:
        with torch.no_grad():
            model(tokens)
    finally:
        handle.remove()
    norm, column = model.ln_final.original_component, model.unembed.W_U[:, 5].double()

    def logit(stream: Tensor) -> Tensor:
        scale = (stream.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()
        return (stream / scale * norm.weight.double()) @ column

    effects, stream = result.direct_effects(), seen[0][:, -1]
    for label in ("L1H2", "0_mlp_out", "embed"):
        i, vector = result.labels.index(label), result.part(label).vector()[:, 0].double()
        truth = logit(stream) - logit(stream - vector)
        assert bool(((effects.effects[i] - truth).abs() <= effects.tolerance[i]).all()), label
    rounding = result.labels.index("rounding")
    vectors = [result.part(label).vector()[:, 0].double() for label in result.labels if label != "rounding"]
    lost = result.total.double() - logit(stream)
    truth = lost + logit(stream) - logit(torch.stack(vectors).sum(0))
    assert bool(((effects.effects[rounding] - truth).abs() <= effects.tolerance[rounding] + result.tolerance).all())
