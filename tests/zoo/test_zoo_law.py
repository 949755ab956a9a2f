"""The law of the zoo: for any architecture, mode and unit the answer is exact, or an error that says why."""

import pytest

from benchmarks.zoo import examine as examining
from benchmarks.zoo.examine import UNITS, Cell, examine
from benchmarks.zoo.subjects import LINE, MODES, Subject
from dla.adapters.anatomy import Heads
from dla.testing.models import HUGGING_FACE, hooked_architecture

BRIDGED = (
    *("gpt2", "gpt_neox", "opt", "bloom", "bloom-post-residual", "falcon-new", "falcon-alibi", "mpt", "xglm"),
    *("llama-biases", "qwen3", "phi", "olmo", "olmo2", "gemma2", "gemma4_text", "granite-biases", "cohere", "nemotron"),
    *("mixtral", "gpt_oss", "llama4_text", "deepseek_v3", "jamba", "qwen3_next", "falcon_h1", "mamba2"),
    *("rwkv-rescaled", "recurrent_gemma"),
)
HOOKED = (
    *("ln", "rms-pre", "no-norm", "attention-only", "parallel-rotary", "gated", "alibi", "shortformer"),
    *("grouped-query", "experts", "logits-soft-cap", "norm-after-rms", "final-rms", "output-vocabulary", "solu"),
)

NOT_EXACT = {
    ("falcon-new", "raw"): "refused",
    ("falcon-new", "compatibility"): "changed",
    ("falcon_h1", "compatibility"): "broken",
}
"""What is known not to be exact, on both lines."""

if LINE < 4:
    NOT_EXACT[("cohere", "raw")] = "refused"

SUBJECTS = [Subject("bridge", name, mode) for name in BRIDGED for mode in MODES["bridge"]]
SUBJECTS += [Subject("hooked", name, mode) for name in HOOKED for mode in MODES["hooked"] if LINE < 4]


def of_unit(cells: list[Cell], unit: str) -> Cell:
    [cell] = [cell for cell in cells if cell.unit == unit]
    return cell


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: f"{s.family}-{s.name}-{s.mode}".replace(" ", "-"))
def test_the_answer_is_exact_or_an_error(subject: Subject) -> None:
    cells = examine(subject)
    assert [cell.unit for cell in cells] == list(UNITS)
    for cell in cells:
        assert cell.verdict == NOT_EXACT.get((subject.name, subject.mode), "exact"), cell.reason
        assert cell.verdict == "exact" or cell.verdict == "changed" or len(cell.reason) > 30
        assert cell.unchecked == 0, "a head's row had nothing to be compared with"
        if cell.verdict == "exact" and subject.family == "bridge":
            assert cell.departs is not None
            assert cell.warned == (cell.departs > 1e-5)


def test_the_subset_spans_the_kinds_of_the_catalogue() -> None:
    assert {entry.kind for entry in HUGGING_FACE} == {e.kind for e in HUGGING_FACE if e.name in BRIDGED}
    assert {hooked_architecture(name).switches.get("normalization_type", "LN") for name in HOOKED} >= {"LN", None}


def test_a_row_in_the_wrong_place_is_seen_though_the_sum_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Heads.writes

    def swapped(self: Heads) -> tuple:
        heads, *rest = right(self)
        object.__setattr__(heads, "parts", list(reversed(heads.parts)))
        return (heads, *rest)

    monkeypatch.setattr(Heads, "writes", swapped)
    cells = examine(Subject("bridge", "gpt2", "raw"))
    assert of_unit(cells, "component").verdict == "exact"
    assert of_unit(cells, "head").verdict == "WRONG"
    assert "row L" in of_unit(cells, "head").reason
    assert not of_unit(cells, "head").good


def test_a_forgotten_bias_is_an_error_and_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Heads.writes
    monkeypatch.setattr(Heads, "writes", lambda self: right(self)[:1])
    cell = of_unit(examine(Subject("bridge", "gpt2", "raw")), "head")
    assert (cell.verdict, cell.good) == ("error", False)
    assert "ReconstructionError" in cell.reason


def test_a_changed_model_without_a_warning_is_wrong_unless_it_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "UNWARNED", ())
    for cell in examine(Subject("bridge", "falcon-new", "compatibility")):
        assert (cell.verdict, cell.good) == ("WRONG", False)
        assert "departs by" in cell.reason
