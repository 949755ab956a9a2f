"""Models that run under the user's hooks: what was made of them, what is asked later, what is said where it fails."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from mutants.altered import AlteredDecomposer, without
from subjects import GPT2, LLAMA, params, some_tokens
from torch import Tensor

import dla
from dla.engine import forward as passes
from dla.testing import TinyModel
from dla.testing.assertions import assert_close
from dla.testing.laws.compare import sum_size

SUBJECTS = params([GPT2, LLAMA, TinyModel("gpt2", processed=True), TinyModel("ln", "hooked")])
Z, PRE, MLP = "blocks.1.attn.hook_z", "blocks.1.hook_resid_pre", "blocks.0.hook_mlp_out"
HEADS = dla.HeadDecomposer()
HERE = re.escape(__name__)
Hook = Callable[..., Tensor]


def zero(activation: Tensor, hook: Any) -> Tensor:
    return 0 * activation


def without_head(z: Tensor, hook: Any) -> Tensor:
    z = z.clone()
    z[:, :, 1] = 0
    return z


def steered(stream: Tensor, hook: Any) -> Tensor:
    return stream + torch.sin(torch.arange(stream.shape[-1], dtype=stream.dtype))


EDITS = [
    *((Z, without_head, HEADS), (MLP, zero, HEADS), ("blocks.1.attn.hook_pattern", zero, dla.SourceDecomposer())),
    *(("blocks.0.hook_attn_out", zero, dla.ComponentDecomposer()), ("hook_embed", steered, dla.NeuronDecomposer())),
]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_model_first_seen_under_hooks_is_known_as_it_is_without_them(subject: TinyModel) -> None:
    """Whatever the first attributor sees, the anatomy is the model's own, and the numbers those of the run."""
    tokens = some_tokens(1)
    plain = dla.Attributor(subject.model(), HEADS).attribute(tokens, dla.Logit(5))
    model = subject.fresh()
    for name, edit, decomposer in (*EDITS, (PRE, steered, HEADS)):
        with model.hooks(fwd_hooks=[(name, edit)]):
            attributor = dla.Attributor(model, decomposer)
            if name != PRE:
                result = attributor.attribute(tokens, dla.Logit(5))
                with torch.no_grad():
                    expected = model(tokens)[:, -1, 5]
                assert_close(result.output_logit, expected, sum_size(result), subject.eps, name)
                assert not torch.allclose(result.logit, plain.logit)
    again = dla.Attributor(model, HEADS).attribute(tokens, dla.Logit(5))
    assert again.labels == plain.labels
    assert_close(again.values, plain.values, sum_size(plain), subject.eps)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_pytorch_hooks_and_permanent_ones_do_not_poison_what_is_known(subject: TinyModel) -> None:
    tokens, model = some_tokens(1), subject.fresh()
    model.add_hook(Z, without_head, is_permanent=True)
    handles = [
        model.blocks[0].mlp.register_forward_hook(lambda _module, _args, output: 2 * output),
        model.ln_final.register_forward_pre_hook(lambda _module, args: (3 * args[0], *args[1:])),
    ]
    dla.Attributor(model, HEADS)
    for handle in handles:
        handle.remove()
    under = dla.Attributor(model, HEADS).attribute(tokens, dla.Logit(5))
    assert bool((under.select("L1H1").values == 0).all())
    model.reset_hooks(including_permanent=True)
    plain = dla.Attributor(subject.model(), HEADS).attribute(tokens, dla.Logit(5))
    assert_close(
        dla.Attributor(model, HEADS).attribute(tokens, dla.Logit(5)).values, plain.values, sum_size(plain), 1e-6
    )


@pytest.mark.parametrize("unembed", ["all", "sample"])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_hook_that_sees_logits_sees_those_of_every_position(
    subject: TinyModel, unembed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "SLICE_ON_CPU", 1)
    tokens, model, widths = some_tokens(1, width=20), subject.model(), list[int]()
    attributor = dla.Attributor(model, HEADS, unembed=unembed)
    handles = [
        module.register_forward_hook(lambda _module, _args, logits: widths.append(logits.shape[1]))
        for module in (model, model.unembed)
    ]
    with model.hooks(fwd_hooks=[("unembed.hook_out", lambda logits, hook: widths.append(logits.shape[1]))]):
        for pos in (None, -1, slice(1, None)):
            attributor.attribute(tokens, dla.Logit(5), pos=pos)
    for handle in handles:
        handle.remove()
    assert widths == [20] * 9


def asked_again(result: dla.Attribution) -> list[Callable[[], Any]]:
    """Questions that run the model again."""
    return [
        result.part("L1H1").vector,
        result.part("L1H2").top_tokens,
        lambda: result.refine("L1H1", by=dla.SourceDecomposer()),
        lambda: result.group_by("layer").part("layer 1").vector(),
    ]


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize(("name", "edit"), [(Z, without_head), (MLP, zero), ("hook_embed", steered)])
def test_a_result_is_asked_about_its_own_run_or_refused(subject: TinyModel, name: str, edit: Hook) -> None:
    model, tokens = subject.model(), some_tokens(1)
    attributor = dla.Attributor(model, HEADS)
    plain = attributor.attribute(tokens, dla.Logit(5))
    with model.hooks(fwd_hooks=[(name, edit)]):
        edited = attributor.attribute(tokens, dla.Logit(5))
        for ask in asked_again(plain):
            with pytest.raises(dla.RunChangedError, match=rf"hooks then: none; now: {name}( =.*)? \({HERE}\."):
                ask()
        vector = edited.part("L0H1").vector()
        effects = edited.part("L1H2").top_tokens(2)
    for ask in asked_again(edited):
        with pytest.raises(
            dla.RunChangedError, match=rf"hooks then: {name}( =.*)? \({HERE}.*; now: none\. Ask under the"
        ):
            ask()
    handles = [attach(model, name, edit)]
    torch.testing.assert_close(edited.part("L0H1").vector(), vector)
    assert edited.part("L1H2").top_tokens(2) == effects
    for handle in handles:
        handle()
    assert len(plain.part("L1H1").vector()) == 2


def attach(model: Any, name: str, edit: Hook) -> Callable[[], None]:
    """The same hook, permanently; gives what takes it off."""
    model.add_hook(name, edit, is_permanent=True)
    return lambda: model.reset_hooks(including_permanent=True)


def test_the_part_of_a_silenced_head_is_nothing() -> None:
    model, tokens = GPT2.model(), some_tokens(1)
    with model.hooks(fwd_hooks=[(Z, without_head)]):
        result = dla.Attributor(model, HEADS).attribute(tokens, dla.Logit(5))
        assert bool((result.part("L1H1").vector() == 0).all())
        assert [value for _, value in result.part("L1H1").top_tokens(2).up] == [0, 0]


def test_hooks_that_change_nothing_do_not_matter() -> None:
    model, tokens = GPT2.model(), some_tokens(1)
    result = dla.Attributor(model, HEADS).attribute(tokens, dla.Logit(5))
    expected = result.part("L1H1").vector()
    with model.hooks(fwd_hooks=[(Z, lambda z, hook: None)]):
        torch.testing.assert_close(result.part("L1H1").vector(), expected)
        assert len(result.refine("L1H1", by=dla.SourceDecomposer()).labels) > len(result.labels)


def test_a_hook_that_does_something_else_each_time() -> None:
    model, calls = GPT2.model(), list[int]()

    def drift(z: Tensor, hook: Any) -> Tensor:
        calls.append(1)
        return len(calls) * z

    with model.hooks(fwd_hooks=[(Z, drift)]):
        result = dla.Attributor(model, HEADS).attribute(some_tokens(1), dla.Logit(5))
        with pytest.raises(
            dla.RunChangedError, match=rf"Its hooks are the same \(blocks\.1\.attn\.hook_z( =.*)? \({HERE}"
        ):
            result.part("L1H1").vector()


def scale_output(model: Any) -> None:
    model.blocks[1].attn.W_O.data.mul_(2)


def rescale_all(model: Any) -> None:
    with torch.no_grad():
        for parameter in model.blocks[0].parameters():
            parameter.mul_(1.5)


def other_columns(model: Any) -> None:
    """Of tokens that were not asked about: the run is the same, what its parts push is not."""
    with torch.no_grad():
        for parameter in model.unembed.parameters():
            if parameter.shape == model.W_U.shape:
                parameter[:, 7:] = 0
            elif parameter.shape == model.W_U.T.shape:
                parameter[7:] = 0


CHANGES: list[tuple[Callable[[Any], Any], str]] = [
    (scale_output, r"was .* and is now .*No hook is on it; its weights, or what its modules do, were edited"),
    (rescale_all, r"The model's weights, their dtype or device, or its switches are not those of the run"),
    (other_columns, r"The model's weights, their dtype or device, or its switches are not those of the run"),
    (lambda model: model.to(torch.float64), r"The model's weights, their dtype or device, or its switches are not"),
]


@pytest.mark.parametrize("subject", params([GPT2, LLAMA, TinyModel("ln", "hooked", True)]))
@pytest.mark.parametrize(("change", "message"), CHANGES, ids=["data", "in place", "columns", "dtype"])
def test_weights_that_are_others_now(subject: TinyModel, change: Callable[[Any], Any], message: str) -> None:
    model, tokens = subject.fresh(), some_tokens(1)
    result = dla.Attributor(model, HEADS).attribute(tokens, dla.Logit(5))
    early = dla.Attributor(model, HEADS).attribute(
        tokens, dla.ResidualVector(torch.ones(model.cfg.d_model), at="blocks.1.hook_resid_post")
    )
    assert len(result.part("L1H1").top_tokens(1).up) == len(early.part("L1H1").vector()) - 1
    change(model)
    for ask in (*asked_again(result), *asked_again(early)[::2]):
        with pytest.raises(dla.RunChangedError, match=message):
            ask()
    again = dla.Attributor(model, HEADS).attribute(tokens, dla.Logit(5))
    assert len(again.part("L1H1").top_tokens(1).up) == 1


def plain_hook(edit: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """A forward hook of PyTorch's that edits the first tensor that a module gives."""

    def hook(_module: Any, _args: Any, output: Any) -> Any:
        return (edit(output[0]), *output[1:]) if isinstance(output, tuple) else edit(output)

    return hook


ON_THE_WAY = [
    *("blocks.0.hook_resid_pre", PRE, "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"),
    *("blocks.0.hook_attn_out", MLP),
]
"""Where what a hook adds is in no row of the heads and MLPs, but can be measured; the last is itself such a row."""


@pytest.mark.parametrize("subject", [*SUBJECTS, *params([TinyModel("granite-biases")])])
@pytest.mark.filterwarnings("ignore:A forward hook edited:UserWarning")  # TransformerLens, of its own rounding
def test_what_a_hook_adds_to_the_stream_is_a_row(subject: TinyModel) -> None:
    """Several hooks at one place and a hook that looks on; the row's vector is what was added, by hand."""
    model, tokens = subject.model(), some_tokens(1)
    attributor = dla.Attributor(model, HEADS)
    plain = attributor.attribute(tokens, dla.Logit(5))
    for name in ON_THE_WAY:
        if name not in model.hook_dict or (name.endswith("_out") and subject.name == "granite-biases"):
            continue
        with model.hooks(fwd_hooks=[(name, steered), (name, lambda x, hook: None), (name, steered)]):
            result = attributor.attribute(tokens, dla.Logit(5), pos=None)
            added = set(result.labels) - set(plain.labels)
            if name == MLP or (name == ON_THE_WAY[0] and subject.name == "granite-biases"):
                assert not added  # a row reads it there
                continue
            (label,) = added
            assert label == f"edit {name}"
            vector = result.part(label).vector()
            assert attributor.explain_gap(tokens, dla.Logit(5)).first() is None
            with torch.no_grad():
                assert_close(
                    result.output_logit[:, -1], model(tokens)[:, -1, 5], sum_size(result)[:, -1], subject.eps, name
                )
        torch.testing.assert_close(vector, (2 * steered(0 * vector, None)).to(vector), atol=1e-5, rtol=0)
        if name == PRE:
            with model.hooks(fwd_hooks=[(name, steered)]):
                place = dla.ResidualVector(torch.ones(model.cfg.d_model), at="blocks.0.hook_resid_post")
                assert label not in attributor.attribute(tokens, place).labels
                place = dla.ResidualVector(torch.ones(model.cfg.d_model), at=PRE)
                assert label in attributor.attribute(tokens, place).labels


STEERED: list[tuple[str, str]] = [
    ("ln_final.hook_normalized", r"at the readout; hooked there: ln_final\.hook_normalized"),
    ("unembed.hook_out", r"at the readout; hooked there: .*unembed\.hook_out"),
]


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.filterwarnings("ignore:A forward hook edited:UserWarning")  # TransformerLens, of its own rounding
@pytest.mark.parametrize(("name", "message"), STEERED, ids=[name for name, _ in STEERED])
def test_an_edit_of_the_stream_is_named(subject: TinyModel, name: str, message: str) -> None:
    model = subject.model()
    attributor = dla.Attributor(model, HEADS)
    edits = [(Z, lambda z, hook: None), (name, lambda x, hook: x + torch.sin(torch.arange(x.shape[-1]).to(x)))]
    with (
        model.hooks(fwd_hooks=edits),
        pytest.raises(dla.ReconstructionError, match=rf"Without your hooks they do not\. It goes wrong {message}"),
    ):
        attributor.attribute(some_tokens(1), {"a": dla.Logit(5), "b": dla.Logit(6)}, pos=[0, 3])


@pytest.mark.parametrize("subject", SUBJECTS)
def test_an_edit_by_a_hook_of_pytorch_is_named(subject: TinyModel) -> None:
    model = subject.model()
    attributor = dla.Attributor(model, dla.ComponentDecomposer())
    cases = [
        (model.blocks[1], rf"at the readout; hooked there: blocks\.1 \({HERE}"),
        (model.blocks[1].mlp, rf"in block 1; hooked there: blocks\.1\.mlp \({HERE}"),
        (model.ln_final, rf"at the readout; hooked there: ln_final \({HERE}"),
    ]
    if subject.family == "hooked":
        del cases[1]  # the MLP's output passes a hook point after the module: its edit is seen, and the sum holds
    for module, message in cases:
        handle = module.register_forward_hook(plain_hook(lambda x: x + torch.sin(torch.arange(x.shape[-1]).to(x))))
        with pytest.raises(dla.ReconstructionError, match=message):
            attributor.attribute(some_tokens(1), dla.Logit(5))
        report = attributor.explain_gap(some_tokens(1), dla.Logit(5)).first()
        assert report is None or report.hooks
        handle.remove()
    handle = model.blocks[0].register_forward_hook(plain_hook(lambda x: steered(x, None)))
    vector = attributor.attribute(some_tokens(1), dla.Logit(5)).part("edit blocks.0").vector()
    handle.remove()
    torch.testing.assert_close(vector, steered(0 * vector, None), atol=1e-5, rtol=0)
    attributor.attribute(some_tokens(1), dla.Logit(5))


def test_a_decomposer_that_forgot_a_part_is_blamed_though_hooks_are_on_the_model() -> None:
    model = GPT2.model()
    with model.hooks(fwd_hooks=[(PRE, lambda x, hook: None), (Z, without_head)]):
        twin = dla.Attributor(model, AlteredDecomposer(HEADS, without("b_O", 1)))
        with pytest.raises(dla.ReconstructionError, match=r"A bias that the model adds is the part most often forgott"):
            twin.attribute(some_tokens(1), dla.Logit(5))


def test_explaining_an_edit_that_no_row_holds_names_the_stretch_and_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook of the MLP's module: nothing shows what was there before."""
    monkeypatch.setenv("COLUMNS", "120")
    model = GPT2.model()
    attributor = dla.Attributor(model, HEADS)
    handle = model.blocks[1].mlp.register_forward_hook(plain_hook(lambda x: steered(x, None)))
    report = attributor.explain_gap(some_tokens(1), dla.Logit(5))
    trajectory = dla.Attributor(model, dla.LayerDecomposer()).explain_gap(some_tokens(1), dla.Logit(5))
    handle.remove()
    missed = [row for row in report.rows if not row.within]
    assert [row.place for row in missed] == ["block 1"]
    assert re.search(r"← misses; hooked:(.|\n)*blocks\.1\.mlp", str(report))
    assert trajectory.first() is None


def test_a_cache_of_an_edited_run() -> None:
    model = GPT2.model()
    with model.hooks(fwd_hooks=[(PRE, steered)]):
        _, cache = model.run_with_cache(some_tokens(1))
    with pytest.raises(
        dla.ReconstructionError, match=r"The stream in the cache changes between block 0 and block 1: a"
    ):
        dla.Attributor(model, HEADS).attribute(None, dla.Logit(5), cache=cache)


def test_pieces_that_a_hook_edits_after_they_are_read() -> None:
    model = GPT2.model()
    with model.hooks(fwd_hooks=[(Z, without_head)]):
        result = dla.Attributor(model, HEADS).attribute(some_tokens(1), dla.Logit(5))
        with pytest.raises(
            dla.ReconstructionError, match=r"edits after they were read .* hooked: blocks\.1\.attn\.hook_z"
        ):
            result.refine("L1H1", by=dla.SourceDecomposer())
        assert result.refine("L1H2", by=dla.SourceDecomposer()).rerun is not None


@pytest.mark.parametrize("subject", params([TinyModel("gpt2", dtype=torch.bfloat16)]))
def test_half_precision_under_hooks(subject: TinyModel) -> None:
    """What is rounded away is neither taken for an edit, nor an edit for rounding."""
    model, tokens = subject.model(), some_tokens(1)
    attributor = dla.Attributor(model, HEADS)
    plain = attributor.attribute(tokens, dla.Logit(5))
    assert attributor.explain_gap(tokens, dla.Logit(5)).first() is None
    with model.hooks(fwd_hooks=[(Z, without_head)]):
        edited = attributor.attribute(tokens, dla.Logit(5))
        assert bool((edited.part("L1H1").vector() == 0).all())
        with pytest.raises(dla.RunChangedError, match=r"hooks then: none; now: blocks\.1\.attn\.hook_z"):
            plain.part("L1H1").vector()
    with model.hooks(fwd_hooks=[(PRE, steered)]):
        result = attributor.attribute(tokens, dla.Logit(5))
        assert bool((result.select(f"edit {PRE}").values != 0).all())
    at_the_end = ("blocks.1.hook_resid_post", steered)
    refused = pytest.raises(dla.UnsupportedModelError, match=r"cannot be told from what half precision rounds away")
    with model.hooks(fwd_hooks=[at_the_end]), refused:
        attributor.attribute(tokens, dla.Logit(5))
