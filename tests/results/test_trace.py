"""A trace is the gradient of a frozen copy of the model, and adds up to what was measured."""

import re
from typing import Any, final

import pytest
import torch
from torch import Tensor

import dla
from dla.adapters.transformer_lens import TransformerLensAdapter
from dla.testing import AlteredAdapter, TinyModel
from tests.dictionaries import Biased
from tests.frozen_by_hand import FrozenByHand, writes
from tests.subjects import GPT2, LLAMA, needs_hooked_transformer, some_tokens
from tests.traced_subjects import ALLOWED, ASKED, DOUBLE, EACH_RULE, attributed

HEADS = dla.HeadDecomposer()


def direction_at_end(frozen: FrozenByHand) -> Tensor:
    """The gradient of the logit difference by the last stream, at the last position."""
    logits, stream = frozen.logits[:, -1], frozen.entering(frozen.parts.final_norm)
    (gradient,) = torch.autograd.grad((logits[:, 5] - logits[:, 6]).sum(), stream, retain_graph=True)
    return gradient


def head_row(frozen: FrozenByHand, layer: int, head: int) -> Tensor:
    """What a head wrote, read by the direction at the end."""
    path = frozen.parts.attention_output.format(layer)
    module, z = frozen.module(path), frozen.entering(path)
    weight = module.weight if type(module).__name__ == "Conv1D" else module.weight.T
    at = slice(head * z.shape[-1] // 4, (head + 1) * z.shape[-1] // 4)
    return ((z[..., at] @ weight[at]) * direction_at_end(frozen)).sum((-1, -2))


def assert_rows(trace: dla.Attribution, gradient: Tensor, parts: dict[str, Tensor], allowed: float) -> None:
    """The rows are what the gradient reads of what was written."""
    assert trace.labels == [*parts]
    for row, part in zip(trace.values, parts.values(), strict=True):
        truth = (gradient * part).sum(-1)
        torch.testing.assert_close(row, truth if row.ndim == 2 else truth[:, -1], atol=allowed, rtol=allowed)


@pytest.mark.parametrize("name", DOUBLE)
def test_a_head_is_traced_as_a_frozen_copy_says(name: str) -> None:
    frozen = FrozenByHand(name, some_tokens(1))
    row = head_row(frozen, 1, 2)
    (gradient,) = torch.autograd.grad(row.sum(), frozen.entering(frozen.parts.block.format(1)))
    trace = attributed(name, HEADS).trace("L1H2", by=dla.ComponentDecomposer())
    assert_rows(trace, gradient, writes(frozen, 1), ALLOWED[name])
    torch.testing.assert_close(trace.logit.sum(-1), row.detach(), atol=ALLOWED[name], rtol=ALLOWED[name])


@pytest.mark.parametrize(("name", "rule", "share"), EACH_RULE)
def test_an_mlp_is_traced_as_a_frozen_copy_says(name: str, rule: Any, share: float) -> None:
    frozen = FrozenByHand(name, some_tokens(1), share)
    path = frozen.parts.mlp.format(1)
    written = (frozen.leaving(path) * direction_at_end(frozen)).sum()
    (gradient,) = torch.autograd.grad(written, frozen.entering(frozen.parts.norms[1].format(1)))
    trace = attributed(name, HEADS).trace("1_mlp_out", by=dla.ComponentDecomposer(), rule=rule)
    attention = frozen.leaving(frozen.parts.attention_output.format(1).rpartition(".")[0]).detach()
    assert_rows(trace, gradient, {**writes(frozen, 1), "1_attn_out": attention}, ALLOWED[name])
    assert (rule.words if rule else "secant") in trace.provenance.direction


def test_the_bias_of_a_value_forgotten_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    result = attributed("gpt2", HEADS)
    monkeypatch.setattr("dla.adapters.reads.StreamEntry.constant", lambda self, d: d.new_zeros(d.shape[:-1]))
    with pytest.raises(dla.ReconstructionError, match="rows of HeadDecomposer and the constant miss the L1H2 of"):
        result.trace("L1H2", by=HEADS)
    with pytest.raises(dla.ReconstructionError, match="the biases on the way miss the logit by up to"):
        result.trace_back()


def test_a_source_is_read_where_it_stands() -> None:
    result = attributed("gpt2", dla.SourceDecomposer())
    whole = attributed("gpt2", HEADS).trace("L1H2", by=HEADS)
    traces = [result.trace(f"L1H2 <- {s}", by=HEADS) for s in range(6)]
    for s, trace in enumerate(traces):
        assert trace.provenance.dims == ("batch",)
        torch.testing.assert_close(trace.logit, result.values[result.labels.index(f"L1H2 ← {s}")])
        torch.testing.assert_close(trace.values, whole.values[..., s])
    with pytest.raises(ValueError, match="L1H2 ← b_V read nothing of the stream"):
        result.trace("L1H2 ← b_V", by=HEADS)


def test_a_step_may_be_taken_at_one_position() -> None:
    first = attributed("gpt2", HEADS).trace("L1H2", by=HEADS)
    row, whole = first.values[first.labels.index("L0H1")], first.trace("L0H1", by=HEADS)
    by_position = [first.trace("L0H1", by=HEADS, pos=s) for s in range(6)]
    torch.testing.assert_close(sum(each.values for each in by_position), whole.values)
    torch.testing.assert_close(by_position[2].logit.sum(-1), row[..., 2])
    torch.testing.assert_close(first.trace_back(pos=2).logit, first.logit[..., 2])


def test_a_trace_takes_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    result = attributed("gpt2", HEADS)
    result.trace("L1H2", by=HEADS)
    passes, run = [], TransformerLensAdapter.run

    def counting(*args: Any) -> Tensor:
        passes.append(1)
        return run(*args)

    monkeypatch.setattr(TransformerLensAdapter, "run", counting)
    result.trace("L1H2", by=HEADS)
    result.trace_back()
    assert len(passes) == 2


def test_a_trace_is_saved_with_its_rule(tmp_path: Any) -> None:
    trace = attributed("llama", HEADS).trace("1_mlp_out", by=HEADS, rule=dla.FrozenUp())
    trace.save(tmp_path / "trace.nc")
    again = dla.load(tmp_path / "trace.nc")
    assert (again.provenance.traced, again.provenance.rule) == ("1_mlp_out", "frozen up")
    assert "the row as measured" in str(again)
    with pytest.raises(ValueError, match="trace runs the model again, and this result"):
        again.trace("L0H0", by=HEADS)


@pytest.mark.parametrize("line", ["bfloat16", "float16"])
def test_half_precision_stays_within_its_own_rounding(line: str) -> None:
    model = TinyModel("llama", dtype=getattr(torch, line)).model()
    result = dla.Attributor(model, HEADS).attribute(some_tokens(2), ASKED)
    trace = result.trace("L1H2", by=HEADS)
    assert bool((trace.gap.abs() <= trace.tolerance).all())
    result.trace_back(rule=dla.FrozenGate())


def test_experts_whose_inside_is_not_known_stay_a_row() -> None:
    """GPT-OSS clips what its experts multiply."""
    result = dla.Attributor(TinyModel("gpt_oss").model(), dla.ExpertDecomposer()).attribute(some_tokens(2), ASKED)
    assert {"0_mlp_out", "1_mlp_out"} <= set(result.trace_back().labels)
    with pytest.raises(
        dla.UnsupportedModelError, match=r"1_mlp_out cannot be traced: an expert of blocks.1.mlp is not"
    ):
        result.trace("L1E2", by=HEADS, rule=dla.FrozenGate())


@needs_hooked_transformer
def test_a_sublayer_whose_heads_read_apart_says_so() -> None:
    result = dla.Attributor(TinyModel("split-qkv", "hooked").model(), HEADS).attribute(some_tokens(2), ASKED)
    with pytest.raises(dla.UnsupportedModelError, match="each head of blocks.1.attn has an input of its own"):
        result.trace("L1H0", by=HEADS)


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "no part": (lambda r: r.trace("L7H0", by=HEADS), ValueError, "There is no part 'L7H0'"),
    "an embedding": (
        lambda r: r.trace("embed", by=HEADS),
        ValueError,
        "embed read nothing of the stream",
    ),
    "a bias": (lambda r: r.trace("1_b_O", by=HEADS), ValueError, "1_b_O read nothing of the stream"),
    "an embedding among heads": (
        lambda r: r.trace(["embed", "L1H0"], by=HEADS),
        dla.ReconstructionError,
        "or it holds a part that read nothing, such as an embedding",
    ),
    "no label": (lambda r: r.trace([], by=HEADS), ValueError, "names no part"),
    "two places": (
        lambda r: r.trace(["L0H0", "L1H0"], by=HEADS),
        ValueError,
        "read the stream at different places: blocks.0.hook_resid_pre, blocks.1.hook_resid_pre",
    ),
    "no decomposer": (lambda r: r.trace("L1H0", by="heads"), TypeError, "'heads' is not a Decomposer|Expected type"),
    "streams": (lambda r: r.trace("L1H0", by=dla.LayerDecomposer()), ValueError, "of LayerDecomposer do not add up"),
    "a position": (
        lambda r: r.trace("L1H0", by=HEADS, pos=2),
        ValueError,
        "The result is not about position 2; it is about 5",
    ),
    "half a position": (lambda r: r.trace("L1H0", by=HEADS, pos=0.5), TypeError, "pos=0.5 is not a"),
    "no rule": (lambda r: r.trace_back(rule="gate"), TypeError, "rule='gate' is not a rule|Expected type"),
    "a rule for a gate": (
        lambda r: r.trace("1_mlp_out", by=HEADS, rule=dla.FrozenGate()),
        ValueError,
        re.escape("FrozenGate() does not fit 1_mlp_out, which is not gated. Pass Secant(), or no rule."),
    ),
    "a rule for a gate all the way": (
        lambda r: r.trace_back(rule=dla.FrozenGate()),
        ValueError,
        re.escape("FrozenGate() does not fit"),
    ),
    "no place": (lambda r: r.trace_back("blocks.9"), ValueError, "to='blocks.9' is no place of the stream before"),
    "a place that is none": (lambda r: r.trace_back(3), TypeError, "to=3 is not a place|Expected type"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_traced_is_refused(what: str) -> None:
    ask, error, message = BAD[what]
    with pytest.raises(error, match=message):
        ask(attributed("gpt2", HEADS))


def test_a_gated_mlp_wants_a_rule() -> None:
    result = attributed("llama", HEADS)
    with pytest.raises(ValueError, match="1_mlp_out is gated: what it writes is a product of two functions"):
        result.trace("1_mlp_out", by=HEADS)
    with pytest.raises(ValueError, match=re.escape("Secant() does not fit 0_mlp_out, which is gated")):
        result.trace_back(rule=dla.Secant())
    with pytest.raises(ValueError, match="the share of the frozen gate is from 0 to 1"):
        dla.Mixed(1.5)


def test_one_question_at_a_time() -> None:
    attributor = dla.Attributor(GPT2.model(), HEADS)
    several = attributor.attribute(some_tokens(1, 1), {"one": dla.Logit(5), "two": dla.Logit(6)})
    for ask in (
        lambda: several.trace("L1H0", by=HEADS),
        several.trace_back,
        lambda: dla.total_effects(several),
        lambda: dla.graph(several),
    ):
        with pytest.raises(ValueError, match=re.escape("One direction is traced at a time: result.direction('one')")):
            ask()
    several.direction("two").trace("L1H0", by=HEADS)
    everywhere = attributor.attribute(some_tokens(1), ASKED, pos=None)
    with pytest.raises(ValueError, match="about several positions .* one is traced back at a time"):
        everywhere.trace_back()
    torch.testing.assert_close(everywhere.trace_back(pos=3).logit, everywhere.logit[:, 3])
    lens = dla.Attributor(GPT2.model(), dla.LensDecomposer()).attribute(some_tokens(1), ASKED)
    for ask in (lambda: lens.trace("0_pre", by=HEADS), lens.trace_back):
        with pytest.raises(ValueError, match="rows (are|of a) lens"):
            ask()


AGAIN: dict[str, Any] = {
    "trace": lambda r: r.trace("L1H0", by=HEADS),
    "trace_back": lambda r: r.trace_back(),
    "total_effects": lambda r: dla.total_effects(r),
    "graph": lambda r: dla.graph(r),
}


@pytest.mark.parametrize("ask", AGAIN.values(), ids=AGAIN)
def test_what_cannot_be_run_again_is_not_answered(ask: Any, tmp_path: Any) -> None:
    model = GPT2.fresh()
    attributor = dla.Attributor(model, HEADS)
    result = attributor.attribute(some_tokens(1, 1), ASKED)
    result.save(tmp_path / "result.nc")
    with pytest.raises(ValueError, match=r"runs the model again, and this result was read from a file"):
        ask(dla.load(tmp_path / "result.nc"))
    handle = model.blocks[0].hook_resid_pre.register_forward_hook(lambda _, args, output: 2 * output)
    with pytest.raises(dla.RunChangedError):
        ask(result)
    handle.remove()
    ask(result)
    with torch.no_grad():
        model.blocks[0].mlp.W_in.mul_(1.5)
    with pytest.raises(dla.RunChangedError):
        ask(result)


def test_a_dictionary_that_changed_is_not_traced() -> None:
    sae = Biased(GPT2.model().cfg.d_model, 3)
    by = dla.FeatureDecomposer({"blocks.1.hook_mlp_out": sae})
    result = dla.Attributor(GPT2.model(), by).attribute(some_tokens(1), ASKED)
    label = result.select(kind="feature").top(1, by="abs")[0][0]
    result.trace(label, by=HEADS)
    sae.b_enc += 0.5
    with pytest.raises(dla.RunChangedError, match=rf"{label} is not any more what it was in this result, by"):
        result.trace(label, by=HEADS)


@final
class Bent:
    """Features that no matrix makes."""

    def __init__(self, d: int) -> None:
        drawn = Biased(d, 3)
        self.W_enc, self.W_dec, self.b_dec = drawn.W_enc, drawn.W_dec, drawn.b_dec

    def encode(self, x: Tensor) -> Tensor:
        return (x.to(self.W_enc) @ self.W_enc).tanh()


def test_features_that_are_not_linear_say_so() -> None:
    by = dla.FeatureDecomposer({"blocks.1.hook_mlp_out": Bent(GPT2.model().cfg.d_model)})
    result = dla.Attributor(GPT2.model(), by).attribute(some_tokens(1), ASKED)
    with pytest.raises(
        dla.UnsupportedModelError, match="The dictionary of 'blocks.1.hook_mlp_out' cannot be traced: its features"
    ):
        result.trace("1_mlp_out_F0", by=HEADS)
    back = result.trace_back()
    assert bool((back.gap.abs() <= back.tolerance).all())
    with pytest.raises(ValueError, match="1_mlp_out_b_dec read nothing of the stream"):
        result.trace("1_mlp_out_b_dec", by=HEADS)


def test_features_of_a_place_that_is_not_known_say_so() -> None:
    sae = Biased(GPT2.model().cfg.d_model, 3)
    by = dla.FeatureDecomposer({("blocks.1.attn.q.hook_out", "blocks.1.hook_mlp_out"): sae})
    result = dla.Attributor(GPT2.model(), by).attribute(some_tokens(1), ASKED)
    with pytest.raises(dla.UnsupportedModelError, match="'blocks.1.attn.q.hook_out' shows cannot be traced: it is not"):
        result.trace("1_mlp_out_F0", by=HEADS)


def test_a_place_after_the_one_that_was_asked_about_is_refused() -> None:
    model, early = GPT2.model(), dla.ResidualVector(torch.ones(32), at="blocks.0.hook_resid_post")
    result = dla.Attributor(model, HEADS).attribute(some_tokens(1), early)
    with pytest.raises(ValueError, match=r"to='blocks.1.hook_resid_mid' is no place of the stream before what the"):
        result.trace_back("blocks.1.hook_resid_mid")
    assert bool((result.trace_back().gap.abs() <= result.trace_back().tolerance).all())


def test_what_a_hook_adds_is_no_part_of_what_was_read() -> None:
    model, added = GPT2.fresh(), torch.linspace(-1, 1, 32)
    model.blocks[0].hook_mlp_out.register_forward_hook(lambda _, args, output: output + added)
    result = dla.Attributor(model, HEADS).attribute(some_tokens(1), ASKED)
    trace = result.trace("L1H1", by=HEADS)
    assert bool((trace.gap.abs() <= trace.tolerance).all())
    with pytest.raises(dla.ReconstructionError, match="What a hook edits between two parts is in none of them"):
        result.trace_back()


def test_an_activation_read_as_another_multiple_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The derivative in the place of the secant is not complete."""
    result = attributed("gpt2", HEADS)
    monkeypatch.setattr("dla.engine.pull_back.secant", lambda value, of: torch.sigmoid(1.702 * of))
    with pytest.raises(dla.ReconstructionError, match="rows of HeadDecomposer and the constant miss the 1_mlp_out of"):
        result.trace("1_mlp_out", by=HEADS)


def test_an_adapter_that_does_not_say_what_is_read_is_refused() -> None:
    result = dla.Attributor(AlteredAdapter(GPT2.model()), HEADS).attribute(some_tokens(1), ASKED)
    with pytest.raises(dla.UnsupportedModelError, match="does not say what its sublayers read"):
        result.trace("L1H0", by=HEADS)


def test_the_first_attributor_does_not_look_at_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError

    monkeypatch.setattr("dla.adapters.recognise.discover.recognise_reads", refuse)
    dla.Attributor(LLAMA.fresh(), HEADS).attribute(some_tokens(1), ASKED)
