"""`check_adapter` passes what is right, and says of what is wrong where it first goes wrong."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console
from subjects import needs_hooked_transformer
from torch import Tensor

import dla
from dla.adapters.anatomy import Anatomy, Block, Heads, Sublayer
from dla.inputs.vocabulary import Vocabulary
from dla.testing import CheckResult, Report, check_adapter
from dla.testing.models import architecture, hooked_architecture

RIGHT = ("gpt2", "gptj", "llama-biases", "gemma2", "granite-biases", "mixtral", "jamba", "mamba", "bloom", "qwen3_next")


class Altered(dla.ModelAdapter):
    """An adapter as a user might write it: that of a model, with something about its anatomy said differently."""

    def __init__(self, name: str, alter: Callable[[Anatomy], Anatomy] = lambda anatomy: anatomy) -> None:
        self._inner = dla.adapt(architecture(name).bridge())
        self._anatomy = alter(self._inner.anatomy)

    @property
    def anatomy(self) -> Anatomy:
        return self._anatomy

    @property
    def vocabulary(self) -> Vocabulary:
        return self._inner.vocabulary

    def run(self, tokens: Tensor, observe: Mapping[str, Any], rows: Tensor | None) -> Tensor:
        return self._inner.run(tokens, observe, rows)

    def owns(self, cache: Any) -> bool:
        return self._inner.owns(cache)


def first(report: Report) -> CheckResult:
    failure = report.first_failure()
    assert failure is not None
    assert not report.ok
    return failure


def in_block(i: int, change: Callable[[Block], Block]) -> Callable[[Anatomy], Anatomy]:
    def alter(anatomy: Anatomy) -> Anatomy:
        blocks = list(anatomy.blocks)
        blocks[i] = change(blocks[i])
        return replace(anatomy, blocks=tuple(blocks))

    return alter


def in_sublayer(i: int, j: int, change: Callable[[Sublayer], Sublayer]) -> Callable[[Anatomy], Anatomy]:
    def alter(block: Block) -> Block:
        sublayers = list(block.sublayers)
        sublayers[j] = change(sublayers[j])
        return replace(block, sublayers=tuple(sublayers))

    return in_block(i, alter)


def in_heads(i: int, change: Callable[[Heads], Heads]) -> Callable[[Anatomy], Anatomy]:
    return in_sublayer(i, 0, lambda s: replace(s, heads=change(s.heads)))


def in_readout(**changes: Any) -> Callable[[Anatomy], Anatomy]:
    return lambda anatomy: replace(anatomy, unembedding=replace(anatomy.unembedding, **changes))


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_bridge_passes(name: str) -> None:
    report = check_adapter(architecture(name).bridge())
    assert report.ok, str(report)
    assert report.first_failure() is None
    names = [step.name for step in report.steps]
    assert names[:7] == "runs|is causal|unembeds what is asked|anatomy|hooks|embeddings|block 0".split("|")
    assert names[-3:] == ["sum of components", "sum of heads", "sum of layers"]


@pytest.mark.parametrize("name", ["gpt2", "olmo2", "granite"])
def test_a_right_bridge_in_compatibility_mode_passes(name: str) -> None:
    assert check_adapter(architecture(name).bridge("compatibility")).ok


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_a_right_bridge_in_another_dtype_passes(dtype: torch.dtype) -> None:
    report = check_adapter(architecture("gpt2").bridge(dtype=dtype))
    assert report.ok, str(report)


@needs_hooked_transformer
@pytest.mark.parametrize("name", ["ln", "no-norm", "attention-only", "norm-after-rms", "experts", "output-vocabulary"])
def test_a_right_hooked_transformer_passes(name: str) -> None:
    for processed in (False, True):
        report = check_adapter(hooked_architecture(name).model(processed=processed))
        assert report.ok, str(report)


def test_a_right_adapter_of_ones_own_passes() -> None:
    report = check_adapter(Altered("gemma2"))
    assert report.ok, str(report)
    assert report.title == "check_adapter: Altered"


def test_the_tokens_may_be_ones_own() -> None:
    report = check_adapter(architecture("gpt2").bridge(), torch.tensor([[5, 9, 11, 40], [5, 8, 7, 41], [5, 30, 7, 6]]))
    assert report.ok
    assert "3 prompts of 4 tokens" in report.steps[0].found


def halved(write: Any) -> Any:
    return replace(write, route=replace(write.route, multiplier=0.5 * write.route.multiplier))


def test_a_wrong_multiplier_is_found_at_its_block() -> None:
    wrong = in_sublayer(1, 1, lambda s: replace(s, write=halved(s.write)))
    failure = first(check_adapter(Altered("llama", wrong)))
    assert failure.name == "block 1"
    assert "0.5" in failure.found
    assert "resid_pre and the sublayers must add up to resid_post. It misses by" in failure.problem


def test_a_forgotten_embedding_multiplier_is_found() -> None:
    wrong = lambda a: replace(a, embeddings=tuple(halved(write) for write in a.embeddings))  # noqa: E731
    failure = first(check_adapter(Altered("llama", wrong)))
    assert failure.name == "embeddings"
    assert "right but for the factor 2: a multiplier" in failure.problem


def test_a_forgotten_embedding_is_found() -> None:
    failure = first(check_adapter(Altered("gpt2", lambda a: replace(a, embeddings=a.embeddings[:1]))))
    assert failure.name == "embeddings"
    assert "must add up to the first resid_pre" in failure.problem


def test_a_forgotten_sublayer_is_found_at_its_block() -> None:
    wrong = in_block(0, lambda block: replace(block, sublayers=block.sublayers[:1]))
    failure = first(check_adapter(Altered("gpt2", wrong)))
    assert failure.name == "block 0"
    assert failure.found == "0_attn_out (blocks.0.hook_attn_out)"


def test_a_final_norm_without_its_weight_is_found() -> None:
    norm = dla.adapt(architecture("llama").bridge()).anatomy.unembedding.norm
    failure = first(check_adapter(Altered("llama", in_readout(norm=replace(norm, weight=None)))))
    assert failure.name == "final norm"
    assert failure.found == "RMSNorm without weight"
    assert "Each coordinate is off by a factor of its own, at every position the same: a norm's weight" in str(failure)


def test_a_final_norm_without_its_bias_is_found() -> None:
    norm = dla.adapt(architecture("gpt2").bridge()).anatomy.unembedding.norm
    failure = first(check_adapter(Altered("gpt2", in_readout(norm=replace(norm, bias=None)))))
    assert failure.name == "final norm"
    assert "the same vector at every position: a bias" in failure.problem


def test_a_final_norm_that_does_not_centre_is_found() -> None:
    norm = dla.adapt(architecture("gpt2").bridge()).anatomy.unembedding.norm
    failure = first(check_adapter(Altered("gpt2", in_readout(norm=replace(norm, centred=False)))))
    assert failure.name == "final norm"


def test_a_post_norm_without_its_weight_is_found_at_the_heads() -> None:
    def forget(heads: Heads) -> Heads:
        return replace(heads, route=replace(heads.route, norm=replace(heads.route.norm, weight=None)))

    failure = first(check_adapter(Altered("gemma2", in_heads(1, forget))))
    assert failure.name == "block 1: heads"
    assert "With the biases they must add up to 1_attn_out" in failure.problem
    assert "a norm's weight" in failure.problem


def test_heads_that_have_each_others_weights_are_found() -> None:
    failure = first(check_adapter(Altered("llama", in_heads(0, lambda heads: replace(heads, W_O=heads.W_O.flip(0))))))
    assert failure.name == "block 0: heads"
    assert "It misses by" in failure.problem


def test_a_forgotten_output_bias_is_found_at_the_heads() -> None:
    failure = first(check_adapter(Altered("gpt2", in_heads(1, lambda heads: replace(heads, b_O=None)))))
    assert failure.name == "block 1: heads"
    assert "the same vector at every position: a bias" in failure.problem


def test_a_forgotten_bias_of_the_neurons_is_found() -> None:
    wrong = in_sublayer(0, 1, lambda s: replace(s, neurons=replace(s.neurons, b_out=None)))
    failure = first(check_adapter(Altered("gpt2", wrong)))
    assert failure.name == "block 0: neurons"
    assert "must add up to 0_mlp_out" in failure.problem


def test_a_forgotten_bias_of_the_unembedding_is_found() -> None:
    failure = first(check_adapter(Altered("phi", in_readout(b_U=None))))
    assert (failure.name, failure.found) == ("unembedding", "x @ W_U")
    assert "a bias" in failure.problem


def test_a_wrong_output_transform_is_found() -> None:
    failure = first(check_adapter(Altered("gemma2", in_readout(transform=lambda x: x))))
    assert failure.name == "output transform"
    assert "must give what the model returns" in failure.problem


def test_an_unknown_output_transform_is_no_failure() -> None:
    report = check_adapter(Altered("gemma2", in_readout(transform=None)))
    assert report.ok
    assert any("not known" in step.found for step in report.steps)


def at(name: str) -> Callable[[Sublayer], Sublayer]:
    return lambda s: replace(s, write=replace(s.write, site=dla.Site(name)))


def test_a_site_whose_hook_does_not_fire_is_found() -> None:
    report = check_adapter(Altered("llama", in_sublayer(1, 1, at("blocks.1.attn.hook_result"))))
    failure = first(report)
    assert failure.name == "hooks"
    assert "blocks.1.attn.hook_result" in failure.problem
    assert report.steps[-1] == failure, "nothing else can be looked at"


def test_a_site_of_another_block_is_found() -> None:
    failure = first(check_adapter(Altered("llama", in_sublayer(1, 1, at("blocks.0.hook_mlp_out")))))
    assert failure.name == "block 1"


def test_streams_that_do_not_join_are_found() -> None:
    wrong = in_block(1, lambda block: replace(block, resid_pre=halved(block.resid_pre)))
    failure = first(check_adapter(Altered("llama", wrong)))
    assert failure.name == "block 1: stream"
    assert "not what left block 0" in failure.problem


class Loses(Altered):
    """Forgets which positions are asked for."""

    def run(self, tokens: Tensor, observe: Mapping[str, Any], rows: Tensor | None) -> Tensor:
        return super().run(tokens, observe, None)


class Peeks(Altered):
    """Not causal."""

    def run(self, tokens: Tensor, observe: Mapping[str, Any], rows: Tensor | None) -> Tensor:
        return super().run(tokens.flip(1), observe, rows)


class Breaks(Altered):
    """Does not run."""

    def run(self, tokens: Tensor, observe: Mapping[str, Any], rows: Tensor | None) -> Tensor:
        raise RuntimeError("no such kernel")


@pytest.mark.parametrize(
    ("kind", "step", "words"),
    [
        (Loses, "unembeds what is asked", "Asked for 2 positions per prompt"),
        (Peeks, "is causal", "moves the logits before it"),
        (Breaks, "runs", "RuntimeError: no such kernel"),
    ],
)
def test_an_adapter_that_runs_wrongly_is_found(kind: type[Altered], step: str, words: str) -> None:
    report = check_adapter(kind("gpt2"))
    failure = first(report)
    assert failure.name == step
    assert words in failure.problem


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
    failure = first(check_adapter(architecture(name).bridge()))
    assert failure.name == step
    assert words in failure.problem


def test_a_departure_in_compatibility_mode_is_told() -> None:
    failure = first(check_adapter(architecture("gpt_oss").bridge("compatibility")))
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
    report = check_adapter(architecture(name).bridge())
    [found] = [s.found for s in report.steps if s.name == step]
    assert found.startswith("none: ")
    assert words in found


def test_an_adapter_of_ones_own_without_heads() -> None:
    report = check_adapter(Altered("llama", in_sublayer(0, 0, lambda s: replace(s, heads=None))))
    [found] = [s.found for s in report.steps if s.name == "block 0: heads"]
    assert report.ok
    assert found == "none: no module of this block has hook_z or W_O"


def test_the_report_prints_itself() -> None:
    report = check_adapter(Altered("gpt2", in_heads(1, lambda heads: replace(heads, b_O=None))))
    text = str(report)
    assert "check_adapter: Altered" in text
    assert "✗ │ block 1: heads" in text
    assert "First wrong: block 1: heads." in text
    console = Console(width=80)
    with console.capture() as capture:
        console.print(report)
    assert "block 0: heads" in capture.get()


def test_the_large_way_to_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dla.testing.observed_run._LARGE", 0)
    assert check_adapter(architecture("gemma2").bridge()).ok
    failure = first(check_adapter(Altered("gpt2", in_heads(1, lambda heads: replace(heads, b_O=None)))))
    assert failure.name == "block 1: heads"
    assert "a bias" in failure.problem
