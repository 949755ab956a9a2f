"""`check_adapter` passes what is right, and says of what is wrong where it first goes wrong."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from mutants.altered import with_norm, with_readout
from rich.console import Console
from subjects import needs_hooked_transformer
from torch import Tensor

import dla
from dla.adapters.anatomy import Anatomy, Block, Heads, Sublayer
from dla.testing import AlteredAdapter, CheckResult, Report, TinyModel, check_adapter
from dla.testing.altered_adapter import AlterAnatomy

RIGHT = ("gpt2", "gptj", "llama-biases", "gemma2", "granite-biases", "mixtral", "jamba", "mamba", "bloom", "qwen3_next")


def altered(name: str, alter: AlterAnatomy = lambda anatomy: anatomy) -> AlteredAdapter:
    """An adapter as a user might write it: that of a model, with something about its anatomy said differently."""
    return AlteredAdapter(TinyModel(name).model(), alter)


def first(report: Report) -> CheckResult:
    failure = report.first_failure()
    assert failure is not None
    assert not report.ok
    return failure


def in_block(i: int, change: Callable[[Block], Block]) -> AlterAnatomy:
    def alter(anatomy: Anatomy) -> Anatomy:
        blocks = list(anatomy.blocks)
        blocks[i] = change(blocks[i])
        return replace(anatomy, blocks=tuple(blocks))

    return alter


def in_sublayer(i: int, j: int, change: Callable[[Sublayer], Sublayer]) -> AlterAnatomy:
    def alter(block: Block) -> Block:
        sublayers = list(block.sublayers)
        sublayers[j] = change(sublayers[j])
        return replace(block, sublayers=tuple(sublayers))

    return in_block(i, alter)


def in_heads(i: int, change: Callable[[Heads], Heads]) -> AlterAnatomy:
    return in_sublayer(i, 0, lambda s: replace(s, heads=change(s.heads)))


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_bridge_passes(name: str) -> None:
    report = check_adapter(TinyModel(name).model())
    assert report.ok, str(report)
    assert report.first_failure() is None
    names = [step.name for step in report.steps]
    assert names[:7] == "runs|is causal|unembeds what is asked|anatomy|hands off|observers|hooks".split("|")
    assert names[-4:] == ["sum of components", "sum of heads", "sum of layers", "traces"]


@pytest.mark.parametrize("name", ["gpt2", "olmo2", "granite"])
def test_a_right_bridge_in_compatibility_mode_passes(name: str) -> None:
    assert check_adapter(TinyModel(name, processed=True).model()).ok


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_a_right_bridge_in_another_dtype_passes(dtype: torch.dtype) -> None:
    report = check_adapter(TinyModel("gpt2", dtype=dtype).model())
    assert report.ok, str(report)


@needs_hooked_transformer
@pytest.mark.parametrize("name", ["ln", "no-norm", "attention-only", "norm-after-rms", "experts", "output-vocabulary"])
def test_a_right_hooked_transformer_passes(name: str) -> None:
    for processed in (False, True):
        report = check_adapter(TinyModel(name, "hooked", processed).model())
        assert report.ok, str(report)


def test_a_right_adapter_of_ones_own_passes() -> None:
    report = check_adapter(altered("gemma2"))
    assert report.ok, str(report)
    assert report.title == "check_adapter: AlteredAdapter"


def test_the_tokens_may_be_ones_own() -> None:
    report = check_adapter(TinyModel("gpt2").model(), torch.tensor([[5, 9, 11, 40], [5, 8, 7, 41], [5, 30, 7, 6]]))
    assert report.ok
    assert "3 prompts of 4 tokens" in report.steps[0].found


def halved(write: Any) -> Any:
    return replace(write, route=replace(write.route, multiplier=0.5 * write.route.multiplier))


def forgets_weight(heads: Heads) -> Heads:
    return replace(heads, route=replace(heads.route, norm=replace(heads.route.norm, weight=None)))


def reads(name: str) -> Callable[[Sublayer], Sublayer]:
    return lambda s: replace(s, write=replace(s.write, site=dla.Site(name)))


WRONG: dict[str, tuple[str, AlterAnatomy, str]] = {
    "a multiplier": (
        "llama",
        in_sublayer(1, 1, lambda s: replace(s, write=halved(s.write))),
        r"block 1: .*× 0\.5 resid_pre and the sublayers must add up to resid_post\. It misses by",
    ),
    "no embedding multiplier": (
        "llama",
        lambda a: replace(a, embeddings=tuple(map(halved, a.embeddings))),
        "embeddings: .*right but for the factor 2: a multiplier",
    ),
    "no position embedding": (
        "gpt2",
        lambda a: replace(a, embeddings=a.embeddings[:1]),
        "embeddings: .*must add up to the first resid_pre",
    ),
    "no MLP": (
        "gpt2",
        in_block(0, lambda block: replace(block, sublayers=block.sublayers[:1])),
        r"block 0: 0_attn_out \(blocks\.0\.hook_attn_out\) resid_pre",
    ),
    "no γ": (
        "llama",
        with_norm(lambda norm: replace(norm, weight=None)),
        "final norm: RMSNorm without weight .*Each coordinate is off by a factor of its own, .* a norm's weight",
    ),
    "no β": (
        "gpt2",
        with_norm(lambda norm: replace(norm, bias=None)),
        "final norm: .*the same vector at every position: a bias",
    ),
    "no centring": ("gpt2", with_norm(lambda norm: replace(norm, centred=False)), "final norm: "),
    "no weight of a post-norm": (
        "gemma2",
        in_heads(1, forgets_weight),
        "block 1: heads: .*With the biases they must add up to 1_attn_out.* a norm's weight",
    ),
    "heads in reverse": (
        "llama",
        in_heads(0, lambda heads: replace(heads, W_O=heads.W_O.flip(0))),
        "block 0: heads: .*It misses by",
    ),
    "no b_O": (
        "gpt2",
        in_heads(1, lambda heads: replace(heads, b_O=None)),
        "block 1: heads: .*the same vector at every position: a bias",
    ),
    "no b_out": (
        "gpt2",
        in_sublayer(0, 1, lambda s: replace(s, neurons=replace(s.neurons, b_out=None))),
        "block 0: neurons: .*must add up to 0_mlp_out",
    ),
    "no b_U": ("phi", with_readout(b_U=None), "unembedding: x @ W_U It must give the logits.* a bias"),
    "no soft cap": (
        "gemma2",
        with_readout(transform=lambda x: x),
        "output transform: .*must give what the model returns",
    ),
    "a hook that does not fire": (
        "llama",
        in_sublayer(1, 1, reads("blocks.1.attn.hook_result")),
        r"hooks: .*blocks\.1\.attn\.hook_result never fires",
    ),
    "a site of another block": ("llama", in_sublayer(1, 1, reads("blocks.0.hook_mlp_out")), "block 1: "),
    "streams that do not join": (
        "llama",
        in_block(1, lambda block: replace(block, resid_pre=halved(block.resid_pre))),
        "block 1: stream: .*not what left block 0",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_what_is_said_wrongly_of_a_model_is_found_where_it_is_wrong(mistake: str) -> None:
    name, alter, words = WRONG[mistake]
    report = check_adapter(altered(name, alter))
    assert re.match(words, str(first(report))), str(first(report))
    assert first(report).name != "hooks" or report.steps[-1] == first(report), "nothing else can be looked at"


def test_an_unknown_output_transform_is_no_failure() -> None:
    report = check_adapter(altered("gemma2", with_readout(transform=None)))
    assert report.ok
    assert any("not known" in step.found for step in report.steps)


def raises(*_: Any) -> Tensor:
    raise RuntimeError("no such kernel")


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (
            lambda model, tokens, observe, rows: model.run(tokens, observe, None),
            "unembeds what is asked: .*Asked for 2 positions per prompt",
        ),
        (
            lambda model, tokens, observe, rows: model.run(tokens.flip(1), observe, rows),
            "is causal: .*moves the logits before it",
        ),
        (raises, r"(?s)runs: it raises RuntimeError: no such kernel.*in raises, line \d+ of test_check_adapter.py"),
    ],
    ids=["forgets which positions are asked for", "is not causal", "does not run"],
)
def test_an_adapter_that_runs_wrongly_is_found(run: Any, words: str) -> None:
    failure = first(check_adapter(AlteredAdapter(TinyModel("gpt2").model(), run=run)))
    assert re.match(words, str(failure)), str(failure)


@pytest.mark.parametrize(
    ("name", "step", "words"),
    [
        ("bert", "is causal", "not a decoder"),
        ("openai-gpt", "anatomy", "hook_resid_post never fires"),
        ("modernbert-decoder", "anatomy", "transformed by more than a constant factor"),
        ("falcon-new", "checkpoint", "does not compute what Hugging Face's own module computes"),
        ("t5", "adapter", "no `blocks`"),
    ],
)
def test_a_model_that_is_refused_is_so_for_its_reason(name: str, step: str, words: str) -> None:
    failure = first(check_adapter(TinyModel(name).model()))
    assert failure.name == step
    assert words in failure.problem


def test_a_departure_in_compatibility_mode_is_told() -> None:
    failure = first(check_adapter(TinyModel("gpt_oss", processed=True).model()))
    assert failure.name == "checkpoint"
    assert "attention sinks" in failure.problem


def test_what_is_no_model_is_told() -> None:
    failure = first(check_adapter(torch.nn.Linear(2, 2)))
    assert failure.name == "adapter"
    assert "neither a HookedTransformer nor a TransformerBridge" in failure.problem


@pytest.mark.parametrize(
    ("name", "step", "words"),
    [
        ("mixtral", "block 0: neurons", "it is a mixture of experts; ExpertDecomposer splits it"),
        ("mamba", "block 1: heads", "no module of this block has hook_z or W_O"),
        ("jetmoe", "block 0: heads", "no module of this block has hook_z or W_O"),
    ],
)
def test_why_there_are_no_heads_or_neurons(name: str, step: str, words: str) -> None:
    report = check_adapter(TinyModel(name).model())
    [found] = [s.found for s in report.steps if s.name == step]
    assert found.startswith("none: ")
    assert words in found


def test_an_adapter_of_ones_own_without_heads() -> None:
    report = check_adapter(altered("llama", in_sublayer(0, 0, lambda s: replace(s, heads=None))))
    [found] = [s.found for s in report.steps if s.name == "block 0: heads"]
    assert report.ok
    assert found == "none: no module of this block has hook_z or W_O"


def test_the_report_prints_itself() -> None:
    report = check_adapter(altered("gpt2", in_heads(1, lambda heads: replace(heads, b_O=None))))
    text = str(report)
    assert "check_adapter: AlteredAdapter" in text
    assert "✗ │ block 1: heads" in text
    assert "First wrong: block 1: heads." in text
    console = Console(width=80)
    with console.capture() as capture:
        console.print(report)
    assert "block 0: heads" in capture.get()


def test_the_large_way_to_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dla.testing.observed_run._LARGE", 0)
    assert check_adapter(TinyModel("gemma2").model()).ok
    failure = first(check_adapter(altered("gpt2", in_heads(1, lambda heads: replace(heads, b_O=None)))))
    assert failure.name == "block 1: heads"
    assert "a bias" in failure.problem
