"""The laws of tracing, each as a function that raises where it is broken: for any model, prompt, part and rule."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from dictionaries import Biased
from frozen_by_hand import FrozenByHand
from subjects import some_tokens
from torch import Tensor

import dla
from dla.testing import TinyModel
from dla.testing.models import VOCABULARY_SIZE

HEADS, COMPONENTS = dla.HeadDecomposer(), dla.ComponentDecomposer()
INPUT, OUTPUT = "blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out"


def some(of: str) -> list[str]:
    """Enough features that one is there."""
    return [f"{of}_F{i}" for i in range(6)]


def features(subject: TinyModel, at: Any) -> dla.Decomposer:
    return dla.FeatureDecomposer({at: Biased(subject.model().cfg.d_model, 3, skip=isinstance(at, tuple))})


KINDS: dict[str, tuple[Callable[[TinyModel], dla.Decomposer], Callable[[dla.Attribution], dla.Attribution], Any]] = {
    "a head": (lambda _: HEADS, lambda r: r, "L1H2"),
    "a source": (lambda _: dla.SourceDecomposer(), lambda r: r, "L1H2 ← 1"),
    "attention": (lambda _: COMPONENTS, lambda r: r, "1_attn_out"),
    "an MLP": (lambda _: COMPONENTS, lambda r: r, "1_mlp_out"),
    "a neuron": (lambda _: dla.NeuronDecomposer(), lambda r: r, "L1N3"),
    "several": (lambda _: HEADS, lambda r: r, ["L1H3", "L1H0"]),
    "a group": (lambda _: HEADS, lambda r: r.group_by({"pair": ["L1H1", "L1H2"]}), "pair"),
    "a group with biases": (lambda _: HEADS, lambda r: r.group_by("component"), "1_attn_out"),
    "an expert": (lambda _: dla.ExpertDecomposer(), lambda r: r, "L1E1"),
    "shared experts": (lambda _: dla.ExpertDecomposer(), lambda r: r, "1_shared_experts"),
    "features of the stream": (lambda s: features(s, "blocks.1.hook_resid_pre"), lambda r: r, some("1_pre")),
    "features of an output": (lambda s: features(s, OUTPUT), lambda r: r, some("1_mlp_out")),
    "features of a transcoder": (lambda s: features(s, (INPUT, OUTPUT)), lambda r: r, some("1_mlp_out")),
    "what is left of a transcoder": (lambda s: features(s, (INPUT, OUTPUT)), lambda r: r, "1_mlp_out_error"),
    "a skip connection": (lambda s: features(s, (INPUT, OUTPUT)), lambda r: r, "1_mlp_out_skip"),
}
"""What can be traced: the rows of a result, what is done with them, and a label."""

EVERYWHERE = ("a head", "a source", "attention", "several", "a group", "a group with biases", "features of the stream")
MLPS = ("an MLP", "a neuron", "features of an output", "features of a transcoder", "what is left of a transcoder")
PLAIN = (*EVERYWHERE, *MLPS, "a skip connection")
SUBJECTS: dict[str, tuple[str, ...]] = {
    "gpt2": PLAIN,
    "llama": PLAIN,
    "gpt_neox": (*EVERYWHERE, "an MLP", "a neuron"),
    "granite-biases": (*EVERYWHERE, "an MLP", "a neuron"),
    "olmo2": (*EVERYWHERE, "an MLP", "a neuron"),
    "mixtral": (*EVERYWHERE, "an expert", "an MLP", "features of a transcoder", "features of an output"),
    "qwen2_moe": (*EVERYWHERE, "an expert", "shared experts", "an MLP", "what is left of a transcoder"),
}
"""Which parts each architecture has."""


@final
@dataclass(frozen=True)
class Case:
    """What is traced.

    Attributes:
        name: An architecture of the catalogue.
        kind: One of `KINDS`.
        share: How much of gated MLPs is read through `up`.
        seed: Selects the prompts and the tokens asked about.
        width: How many tokens each prompt has.
    """

    name: str = "gpt2"
    kind: str = "a head"
    share: float = 1.0
    seed: int = 0
    width: int = 4

    @property
    def subject(self) -> TinyModel:
        return TinyModel(self.name)

    @property
    def tokens(self) -> Tensor:
        return some_tokens(self.seed, 2, self.width)

    @property
    def pair(self) -> tuple[int, int]:
        """Two tokens."""
        one, step = some_tokens(self.seed + 1, 2, 1).flatten().tolist()
        return one, (one + step) % VOCABULARY_SIZE

    @property
    def direction(self) -> dla.Direction:
        return dla.LogitDifference(*self.pair)

    @property
    def rule(self) -> Any:
        """One that fits the MLPs; None where they have no gate."""
        if self.name in ("gpt2", "gpt_neox"):
            return None
        return {1.0: dla.FrozenGate(), 0.0: dla.FrozenUp()}.get(self.share) or dla.Mixed(self.share)

    def result(self, tokens: Any = None, direction: Any = None, **options: Any) -> dla.Attribution:
        by, then, _ = KINDS[self.kind]
        attributor = dla.Attributor(self.subject.model(), by(self.subject))
        asked = self.direction if direction is None else direction
        return then(attributor.attribute(self.tokens if tokens is None else tokens, asked, **options))

    def trace(self, by: dla.Decomposer = HEADS, **options: Any) -> dla.Attribution:
        return self.result(**options).trace(KINDS[self.kind][2], by=by, rule=self.rule)

    def row(self, result: dla.Attribution) -> Tensor:
        label = KINDS[self.kind][2]
        wanted = [label] if isinstance(label, str) else label
        return torch.stack([result.values[result.labels.index(each)] for each in wanted]).sum(0)


def close(actual: Tensor, expected: Tensor, trace: dla.Attribution, unit: float = 2e-6) -> None:
    """Within rounding, as the rows of a trace are made of it."""
    size = float(trace.values.nan_to_num().abs().sum(0).max() + trace.logit.nan_to_num().abs().max())
    torch.testing.assert_close(actual, expected.to(actual), atol=unit * size + 1e-30, rtol=0.0, equal_nan=True)


def total(trace: dla.Attribution) -> Tensor:
    """The measured row, over all positions where it was read."""
    logit = trace.logit.nan_to_num()
    return logit.sum(-1) if logit.ndim > 1 else logit


def rows_add_up(case: Case) -> None:
    """At each position the rows and the constant are what was measured there; over all positions, the row."""
    result = case.result()
    trace = result.trace(KINDS[case.kind][2], by=HEADS, rule=case.rule)
    close(trace.values.sum(0) + trace.constant, trace.logit, trace)
    close(total(trace), case.row(result), trace)


def traces_are_linear(case: Case) -> None:
    """The trace of a sum of directions is the sum of their traces."""
    one, other = case.direction, dla.Logit(int(case.tokens[0, 0]))
    first, second, both = (case.trace(direction=each) for each in (one, other, -2.0 * one + 0.5 * other))
    close(both.values, -2.0 * first.values + 0.5 * second.values, both)
    close(both.constant, -2.0 * first.constant + 0.5 * second.constant, both)


def finer_rows_make_coarser(case: Case) -> None:
    """Heads, added up by sublayer, are the trace by sublayers."""
    fine, coarse = case.trace(HEADS).group_by("component"), case.trace(COMPONENTS)
    close(fine.values, coarse.values[[coarse.labels.index(label) for label in fine.labels]], coarse)


def steps_make_paths(case: Case) -> None:
    """All paths from the embeddings, one step after the other, are what walking back all the way finds."""
    trace = case.trace(COMPONENTS)
    stepwise = _from_embeddings(trace, case.rule)
    places = [{}] if trace.logit.ndim < 2 else [{"pos": s} for s in range(case.width)]
    back = [trace.trace_back("tokens", rule=case.rule, **place) for place in places]
    labels = [i for i, part in enumerate(back[0].parts) if part.kind == "token"]
    close(stepwise, torch.stack([each.values[labels] for each in back]).sum((0, 1)), trace, 1e-5)


def _from_embeddings(trace: dla.Attribution, rule: Any) -> Tensor:
    found = []
    for part, row in zip(trace.parts, trace.values.nan_to_num(), strict=True):
        if part.kind.endswith("embed"):
            found.append(row.sum(-1) if row.ndim > 1 else row)
        elif part.kind in ("attn_out", "mlp_out"):
            found.append(_from_embeddings(trace.trace(str(part), by=COMPONENTS, rule=rule), rule))
    return torch.stack(found).sum(0)


def every_depth_has_one_sum(case: Case) -> None:
    """What stood at a place, and the biases after it, are the model's own logits, whatever the place."""
    one, other = case.pair
    with torch.no_grad():
        logits = case.subject.model()(case.tokens)[:, -1]
    result, blocks = case.result(), dla.adapt(case.subject.model()).anatomy.blocks
    streams = (stream for block in blocks for stream in (block.resid_pre, block.resid_mid, block.resid_post))
    for to in ("tokens", *(stream.site.name for stream in streams if stream is not None)):
        back = result.trace_back(to, rule=case.rule)
        close(back.total + back.constant, result.logit, back, 1e-5)
        close(back.output_logit, logits[:, one] - logits[:, other], back, 1e-5)


def rows_are_gradients(case: Case) -> None:
    """What the tokens gave the logit is a gradient of a copy of the model that was frozen by hand."""
    frozen, (one, other) = FrozenByHand(case.name, case.tokens, case.share), case.pair
    asked = (frozen.logits[:, -1, one] - frozen.logits[:, -1, other]).sum()
    (gradient,) = torch.autograd.grad(asked, frozen.entering(frozen.parts.block.format(0)))
    model = TinyModel(case.name, dtype=torch.float64).model()
    result = dla.Attributor(model, HEADS).attribute(case.tokens, case.direction)
    back = result.trace_back("tokens", rule=case.rule)
    parts = [frozen.leaving(each).detach() for each in frozen.parts.embeddings]
    truth = torch.cat([(gradient * part).sum(-1).T for part in parts])
    close(back.values[:-1], truth, back, 1e-11 if case.name == "gpt2" else 2e-6)


def a_batch_changes_nothing(case: Case) -> None:
    """A prompt's rows are the same alone, and beside a longer one, which pads it."""
    longer, prompt = some_tokens(case.seed + 2, 1, case.width + 3)[0], case.tokens[0]
    both, alone = case.trace(tokens=[longer, prompt]), case.trace(tokens=[prompt])
    width = case.width if alone.values.ndim > 2 else None
    close(both.values[:, 1, :width] if width else both.values[:, 1], alone.values[:, 0], alone, 1e-5)
    assert not width or bool(both.values[:, 1, width:].isnan().all())
    walked, one = (case.result(tokens=each).trace_back(rule=case.rule) for each in ([longer, prompt], [prompt]))
    kept = [i for i, part in enumerate(walked.parts) if part.source is None or part.source < case.width]
    close(walked.values[kept, 1], one.values[:, 0], one, 1e-5)
    assert not bool(walked.values[[i for i in range(len(walked.labels)) if i not in kept], 1].any())


def nothing_is_read_after(case: Case) -> None:
    """Positions after the one that asked gave it nothing."""
    asked = case.width // 2
    trace = case.trace(pos=asked)
    assert bool(trace.values.any()) or not bool(trace.logit.any())
    if trace.values.ndim > 2:
        assert not bool(trace.values[..., asked + 1 :].any())
        assert not bool(trace.logit[..., asked + 1 :].any())


LAWS: tuple[Callable[[Case], None], ...] = (
    rows_add_up,
    traces_are_linear,
    finer_rows_make_coarser,
    steps_make_paths,
    every_depth_has_one_sum,
    rows_are_gradients,
    a_batch_changes_nothing,
    nothing_is_read_after,
)


def fitting(law: Callable[[Case], None], case: Case) -> Case:
    """The case, as a law can be asked of it: the copy frozen by hand is of two architectures."""
    if law is rows_are_gradients and case.name not in ("gpt2", "llama"):
        return replace(case, name="llama", kind="a head")
    return case
