"""`explain_gap` finds the block of a planted error."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from mutants.altered import AlteredDecomposer, with_norm, without
from subjects import GPT2, LLAMA, each_of_a_few, some_tokens

import dla
from dla.testing import AlteredAdapter, TinyModel
from dla.testing.laws.compare import ALLOWED_ROUNDINGS, sum_size
from dla.testing.models import PROMPT

HEADS, COMPONENTS = dla.HeadDecomposer(), dla.ComponentDecomposer()
NEOX = TinyModel("gpt_neox")


def report(decomposer: dla.Decomposer, subject: TinyModel = GPT2) -> Any:
    return dla.Attributor(subject.model(), decomposer).explain_gap(PROMPT, dla.LogitDifference(" Mary", " John"))


PLANTED = [
    pytest.param(GPT2, HEADS, "b_O", 1, "block 1", id="a bias of block 1"),
    pytest.param(GPT2, HEADS, "b_O", 0, "block 0", id="a bias of block 0"),
    pytest.param(NEOX, HEADS, "b_O", 1, "block 1", id="a bias of a parallel block"),
    pytest.param(LLAMA, COMPONENTS, "mlp_out", 1, "block 1", id="an MLP"),
    pytest.param(GPT2, COMPONENTS, "pos_embed", None, "embeddings", id="the position embedding"),
    pytest.param(GPT2, dla.NeuronDecomposer(), "b_out", 1, "block 1", id="a bias of the MLP"),
]


@pytest.mark.parametrize(("subject", "decomposer", "kind", "layer", "place"), PLANTED)
def test_finds_the_block_of_what_was_forgotten(
    subject: TinyModel, decomposer: dla.Decomposer, kind: str, layer: int | None, place: str
) -> None:
    found = report(AlteredDecomposer(decomposer, without(kind, layer)), subject)
    missed = [row for row in found.rows if not row.within]
    assert [row.place for row in missed] == [place]
    assert found.first() is missed[0]
    attributor = dla.Attributor(subject.model(), decomposer)
    right = attributor.attribute(PROMPT, dla.LogitDifference(" Mary", " John"))
    forgotten = right.select(where=lambda part: part.kind == kind and part.layer == layer).values.sum()
    assert missed[0].gap == pytest.approx(float(forgotten), rel=1e-3, abs=1e-5)


def test_two_errors_that_cancel_in_the_sum_are_both_found() -> None:
    """The sum cannot see a part under the name of another block; block by block it shows."""

    def moved(plan: list[dla.Write], _: dla.ModelAdapter) -> list[dla.Write]:
        names = {"0_mlp_out": dla.Label("mlp_out", 1, 7)}
        return [
            type(w)(w.site, names.get(str(w.labels[0]), w.labels[0]), w.route) if isinstance(w, dla.FullOutput) else w
            for w in plan
        ]

    twin = AlteredDecomposer(COMPONENTS, moved)
    dla.Attributor(GPT2.model(), twin).attribute(PROMPT, dla.Logit(" Mary"))
    found = report(twin)
    assert [row.place for row in found.rows if not row.within] == ["block 0", "block 1"]


@each_of_a_few
@pytest.mark.parametrize(
    "decomposer", [COMPONENTS, HEADS, dla.NeuronDecomposer(), dla.BlockDecomposer()], ids=lambda d: type(d).__name__
)
def test_finds_nothing_where_nothing_is_wrong(subject: TinyModel, decomposer: dla.Decomposer) -> None:
    attributor = dla.Attributor(subject.model(), decomposer)
    found = attributor.explain_gap(some_tokens(18), dla.Logit(9))
    assert found.first() is None
    assert [row.place for row in found.rows][:2] == ["embeddings", "block 0"]


def test_a_gap_of_a_few_roundings_is_found_and_a_smaller_one_is_not() -> None:
    right = dla.Attributor(GPT2.model(), HEADS).attribute(PROMPT, dla.LogitDifference(" Mary", " John"))
    rounding = ALLOWED_ROUNDINGS * GPT2.eps * float(sum_size(right))

    def too_much(size: float) -> dla.Decomposer:
        extra = dla.Constant(size * torch.arange(32.0), dla.Label("extra", 1))
        return AlteredDecomposer(HEADS, lambda plan, _: [*plan, extra])

    gap = abs(report(too_much(1.0)).first().gap)
    found = report(too_much(4 * rounding / gap)).first()
    assert found is not None
    assert found.place == "block 1"
    assert abs(found.gap) == pytest.approx(4 * rounding, rel=0.1)
    assert report(too_much(1e-3 * rounding / gap)).first() is None


def test_the_report_prints_itself() -> None:
    text = str(report(AlteredDecomposer(HEADS, without("b_O", 1))))
    marked = [line for line in text.splitlines() if "misses" in line]
    assert len(marked) == 1
    assert "block 1" in marked[0]
    for words in ("What the stream gained", "measured", "parts", "gap", "embeddings", "block 0"):
        assert words in text


def test_an_error_at_the_readout_is_no_blocks_fault() -> None:
    """A wrong final norm misses the logit, though every block's parts are what its stream gained."""
    adapter = AlteredAdapter(GPT2.model(), with_norm(lambda norm: replace(norm, weight=None)))
    attributor = dla.Attributor(adapter, HEADS)
    with pytest.raises(dla.ReconstructionError):
        attributor.attribute(PROMPT, dla.Logit(" Mary"))
    assert attributor.explain_gap(PROMPT, dla.Logit(" Mary")).first() is None


def test_an_explanation_of_a_trajectory_does_not_accuse_a_right_decomposer() -> None:
    found = report(dla.LayerDecomposer())
    assert found.first() is None


def test_explaining_takes_token_tensors_and_any_position() -> None:
    attributor = dla.Attributor(GPT2.model(), AlteredDecomposer(HEADS, without("b_O", 1)))
    for prompts, pos in ((some_tokens(18), 2), ([PROMPT, "When Mary"], -1), (torch.tensor([5, 6, 7]), 0)):
        first = attributor.explain_gap(prompts, dla.Logit(9), pos=pos).first()
        assert first is not None
        assert first.place == "block 1"
