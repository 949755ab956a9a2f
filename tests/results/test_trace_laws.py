"""The laws of tracing, on drawn models, prompts, directions, parts and rules; each is broken once, and seen to fail."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from subjects import some_ids, some_tokens
from torch import Tensor

import dla
from dla.adapters.affine import Affine
from dla.adapters.reads import NeuronReads, StreamEntry
from dla.engine import back, pull_back, rules, tracing
from dla.engine.pull_back import PulledBack
from dla.results import trace as one_step
from dla.results import trace_back as all_steps
from dla.testing import strategies as dst
from dla.writes.dictionaries.encoder import Encoder
from tests.results.trace_laws import (
    KINDS,
    LAWS,
    SUBJECTS,
    Case,
    a_batch_changes_nothing,
    every_depth_has_one_sum,
    finer_rows_make_coarser,
    fitting,
    nothing_is_read_after,
    rows_add_up,
    rows_are_gradients,
    steps_make_paths,
    traces_are_linear,
)

Law = Callable[[Case], None]
Patch = pytest.MonkeyPatch

cases = st.sampled_from(sorted(SUBJECTS)).flatmap(
    lambda name: st.builds(
        Case, st.just(name), st.sampled_from(SUBJECTS[name]), st.sampled_from([1.0, 0.0, 0.3]),
        st.integers(0, 2**16), st.integers(2, 5),
    )
)  # fmt: skip


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@given(case=cases)
def test_every_law_holds(law: Law, case: Case) -> None:
    law(fitting(law, case))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_part_adds_up(kind: str) -> None:
    for name in (name for name in SUBJECTS if kind in SUBJECTS[name]):
        rows_add_up(Case(name, kind, 0.3, seed=7))


@given(data=st.data(), config=dst.model_configs(dtypes=[torch.float32, torch.float64]), seed=st.integers(0, 2**16))
def test_drawn_models_are_traced(data: st.DataObject, config: Any, seed: int) -> None:
    model, tokens = config.model(), some_tokens(seed, 2, 1 + seed % 5)
    by = dla.HeadDecomposer() | dla.NeuronDecomposer()
    result = dla.Attributor(model, by).attribute(tokens, dla.Logit(some_ids(seed, 2, tokens.shape[1])), pos=None)
    label = data.draw(st.sampled_from([str(part) for part in result.parts if part.kind in ("head", "neuron")]))
    reads = [each for block in dla.adapt(model).reads for each in block if isinstance(each, NeuronReads)]
    rule = dla.Mixed(0.3) if any(each.up is not None for each in reads) else None
    trace = result.trace(label, by=dla.HeadDecomposer(), rule=rule if "N" in label else None)
    row = result.values[result.labels.index(label)]
    assert bool((trace.gap.abs() <= trace.tolerance).all())
    torch.testing.assert_close(trace.logit.sum(-1), row.sum(-1), atol=1e-5, rtol=1e-4)
    walked = result.trace_back(pos=-1, rule=rule)
    assert bool((walked.gap.abs() <= walked.tolerance).all())


def no_bias_of_values(patch: Patch) -> None:
    patch.setattr(Affine, "constant", lambda self, direction: direction.new_zeros(direction.shape[:-1]))


def derivatives_for_secants(patch: Patch) -> None:
    patch.setattr(pull_back, "secant", lambda value, of: torch.sigmoid(1.702 * of))


def first_positions_scale(patch: Patch) -> None:
    def pulled(self: StreamEntry, direction: Tensor, activations: Any) -> Tensor:
        assert self.norm is not None
        return self.norm.pull_back(direction) / activations[self.norm.scale][:, :1].unsqueeze(-1)

    patch.setattr(StreamEntry, "pull_back", pulled)


def other_groups_values(patch: Patch) -> None:
    right = pull_back.to_values
    for module in ("dla.engine.traced", "dla.engine.pull_back"):
        patch.setattr(f"{module}.to_values", lambda *args: right(*args).flip(2))


def no_bias_of_features(patch: Patch) -> None:
    patch.setattr(Encoder, "constant", lambda self, direction: direction.new_zeros(direction.shape[:-1]))


def other_experts_matrices(patch: Patch) -> None:
    right = pull_back.from_outputs

    def from_outputs(outputs: Tensor, write: Any, reads: Any, *args: Any) -> PulledBack:
        return right(outputs, write, replace(reads, experts=reads.experts[::-1]), *args)

    patch.setattr("dla.engine.traced.from_outputs", from_outputs)


def no_mask(patch: Patch) -> None:
    """What is read of the first position is read of all others as well."""
    right = tracing.query_at

    def query_at(query: Any, place: str, by: Any, words: str, positions: Any, pulled: PulledBack) -> Any:
        everywhere = pulled.direction + pulled.direction[:, :1]
        return right(query, place, by, words, positions, replace(pulled, direction=everywhere))

    patch.setattr(one_step, "query_at", query_at)


def gate_always_frozen(patch: Patch) -> None:
    """Whatever the rule says."""

    def rule_for(rule: Any, gated: bool, whose: str) -> Any:
        return rules.FrozenGate() if gated else rules.Secant()

    patch.setattr("dla.engine.traced.rule_for", rule_for)


def _answers(patch: Patch, change: Callable[[Any, Any], Tensor]) -> None:
    right = one_step.answered_by

    def answered(query: Any, *args: Any) -> Any:
        found = right(query, *args)
        return replace(found, values=change(query, found))

    patch.setattr(one_step, "answered_by", answered)


def largest_head_takes_all(patch: Patch) -> None:
    """Rows of heads that are not linear, with the right sum."""

    def change(query: Any, found: Any) -> Tensor:
        heads, values = [i for i, label in enumerate(found.labels) if label.kind == "head"], found.values.clone()
        own = values[heads]
        values[heads] = own.sum(0) * torch.softmax(own.sum((1, 3), keepdim=True) * 100, 0)
        return values

    _answers(patch, change)


def heads_take_what_the_mlp_wrote(patch: Patch) -> None:
    def change(query: Any, found: Any) -> Tensor:
        kinds, values = [label.kind for label in found.labels], found.values.clone()
        if "head" in kinds and "mlp_out" in kinds:
            head, mlp = kinds.index("head"), kinds.index("mlp_out")
            values[[head, mlp]] = values[[mlp, head]]
        return values

    _answers(patch, change)


def rows_by_batch(patch: Patch) -> None:
    """Rows are mixed up where there are several prompts of different lengths."""

    def change(query: Any, found: Any) -> Tensor:
        return found.values.roll(1, 0) if len(set(query.prompts.lengths)) > 1 else found.values

    _answers(patch, change)


def second_step_counts_twice(patch: Patch) -> None:
    right = one_step.pulled_back

    def pulled(on: Any, shown: Any, rule: Any, run: Any) -> PulledBack:
        found = right(on, shown, rule, run)
        layers = {each.entry.stream.label.layer for key, each in shown.items() if key in on}
        return found + found if layers == {0} else found

    patch.setattr(one_step, "pulled_back", pulled)


def mid_is_taken_for_pre(patch: Patch) -> None:
    right = back.place_at

    def place_at(model: Any, to: Any) -> Any:
        found = right(model, to)
        return replace(found, sublayer=0) if str(to).endswith("hook_resid_mid") else found

    patch.setattr(all_steps, "place_at", place_at)


SUMS = {rows_add_up, every_depth_has_one_sum, rows_are_gradients}
BROKEN: dict[Callable[[Patch], None], tuple[Case, set[Law]]] = {
    no_bias_of_values: (Case("gpt2"), {rows_add_up, every_depth_has_one_sum}),
    derivatives_for_secants: (Case("gpt2", "an MLP"), SUMS),
    first_positions_scale: (Case("llama"), SUMS),
    other_groups_values: (Case("llama"), SUMS),
    no_bias_of_features: (Case("gpt2", "features of a transcoder"), {rows_add_up}),
    other_experts_matrices: (Case("mixtral", "an expert"), {rows_add_up, every_depth_has_one_sum}),
    no_mask: (Case("gpt2"), {nothing_is_read_after, rows_add_up, steps_make_paths}),
    gate_always_frozen: (Case("llama", "an MLP", 0.0), {rows_are_gradients}),
    largest_head_takes_all: (Case("gpt2"), {traces_are_linear}),
    heads_take_what_the_mlp_wrote: (Case("gpt2"), {finer_rows_make_coarser}),
    rows_by_batch: (Case("gpt2"), {a_batch_changes_nothing}),
    second_step_counts_twice: (Case("gpt2"), {steps_make_paths}),
    mid_is_taken_for_pre: (Case("gpt2"), {every_depth_has_one_sum}),
}
"""Mistakes, with the laws that each breaks."""


@pytest.mark.parametrize("mistake", BROKEN, ids=lambda mistake: mistake.__name__)
def test_a_mistake_breaks_its_laws_and_no_other(mistake: Callable[[Patch], None], monkeypatch: Patch) -> None:
    case, broken = BROKEN[mistake]
    for law in LAWS:
        law(fitting(law, case))
    mistake(monkeypatch)
    # The library's own proof would stop at once, whatever the law.
    for module in (one_step, all_steps):
        monkeypatch.setattr(module, "TOLERANCE", 1e30)
    found = set()
    for law in LAWS:
        try:
            law(fitting(law, case))
        except (AssertionError, dla.ReconstructionError):
            found.add(law)
    assert {law.__name__ for law in found} == {law.__name__ for law in broken}
