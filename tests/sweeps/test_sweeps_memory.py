"""Memory that runs out, rows that fail for reasons of their own, and memory that must not grow."""

import numpy as np
import pytest
import torch
from sweep_process import SweepProcess
from sweep_subjects import (
    Altered,
    assert_every_row_once,
    assert_near,
    attributor,
    by_heads,
    frame,
    prompts_of,
    rows,
    write_lines,
)

import dla

pytestmark = pytest.mark.filterwarnings("ignore::dla.SweepWarning")


def limited(cap, error, sizes):
    """Runs the model unless there are too many tokens; notes how many there were."""

    def run(model, tokens, observe, rows):
        sizes.append(tokens.numel())
        if tokens.numel() > cap:
            raise error
        return model.run(tokens, observe, rows)

    return by_heads(Altered(run))


ERRORS = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_batches_are_halved_when_memory_runs_out(heads, error, tmp_path):
    sizes: list[int] = []
    starved = dla.sweep(frame(64), limited(150, error, sizes), tmp_path / "starved", window=32, batch_tokens=500)
    whole = dla.sweep(frame(64), heads, tmp_path / "whole", window=32, batch_tokens=500)
    assert max(sizes) > 400
    assert [shard.number for shard in starved.shards()] == [shard.number for shard in whole.shards()]
    assert_near(starved, whole)
    assert starved.rejected().empty


def test_the_size_that_fits_is_kept_and_grows_again(tmp_path):
    sizes: list[int] = []
    by = limited(150, torch.OutOfMemoryError("out of memory"), sizes)
    dla.sweep(frame(400), by, tmp_path, window=400, batch_tokens=500)
    failed = [i for i, size in enumerate(sizes) if size > 150]
    assert len(failed) < len(sizes) / 4, "each batch was tried whole, though none fits"
    between = np.diff(failed)
    assert (between >= 8).sum() > 2, "the size never grew again"


def test_a_prompt_that_never_fits_is_rejected(tmp_path):
    by = limited(20, torch.OutOfMemoryError("out of memory"), [])
    folder = dla.sweep(frame(6, prompt={2: "Mary and " * 12}), by, tmp_path, batch_tokens=500)
    assert folder.rejected()["reason"].tolist() == ["Memory runs out on this prompt of 25 tokens, even alone."]
    assert_every_row_once(folder, 6)


def test_other_errors_of_the_run_are_not_taken_for_those(tmp_path):
    by = limited(10, RuntimeError("mat1 and mat2 shapes cannot be multiplied"), [])
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        dla.sweep(frame(6), by, tmp_path)


def spoilt(change):
    """Runs the model; what it says of prompts about computers is changed."""

    def run(model, tokens, observe, rows):
        marked = (tokens == model.vocabulary.token(" computer")).any(1)
        return change(model, tokens, observe, rows, marked)

    return Altered(run)


def refuse(model, tokens, observe, rows, marked):
    if bool(marked.any()):
        raise ValueError("This model does not like computers.")
    return model.run(tokens, observe, rows)


def shift(by):
    def change(model, tokens, observe, rows, marked):
        name = model.anatomy.unembedding.logits.name
        inner = observe[name]

        def moved(logits):
            inner(torch.where(marked[:, None, None], logits + by * torch.arange(logits.shape[-1]), logits))

        return model.run(tokens, {**observe, name: moved}, rows)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (refuse, "This model does not like computers."),
        (shift(0.1), "The 20 parts of HeadDecomposer miss the model's logit by .*explain_gap"),
        (shift(float("nan")), "The model's numbers for this prompt are not finite"),
    ],
    ids=["refused", "missed", "not a number"],
)
def test_only_the_rows_that_fail_are_rejected(heads, change, reason, tmp_path):
    corpus = frame(80)
    marked = corpus["prompt"].str.contains("computer")
    assert 0 < marked.sum() < 20
    folder = dla.sweep(corpus, by_heads(spoilt(change)), tmp_path / "spoilt", window=40)
    assert folder.rejected()["row"].tolist() == corpus.index[marked].tolist()
    assert folder.rejected()["reason"].str.match(reason).all()
    assert folder.rejected()["prompt"].tolist() == corpus["prompt"][marked].tolist()
    assert_every_row_once(folder, 80)
    assert_near(folder, dla.sweep(corpus, heads, tmp_path / "right", window=40), leaving_out=corpus.index[marked])


@pytest.mark.parametrize(("check", "kept"), [("raise", 0), ("warn", 5)])
def test_an_attributor_that_only_warns_keeps_rows_that_miss(check, kept, tmp_path):
    class Short(dla.Decomposer):
        def writes(self, model):
            return list(dla.ComponentDecomposer().writes(model))[1:]

    folder = dla.sweep(frame(5), attributor(Short(), check=check), tmp_path)
    assert (folder.count, len(folder.rejected())) == (kept, 5 - kept)
    assert all(abs(row["gap"]) > row["tolerance"] for row, _ in prompts_of(folder))


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """The rows carry text that would show if they were kept."""
    peaks = []
    for count in (500, 5000):
        lines = [{**row, "note": f"{i} " * 2000} for i, row in enumerate(rows(count))]
        corpus = write_lines(tmp_path / f"{count}.jsonl", lines)
        peaks.append(SweepProcess(corpus=corpus, out=tmp_path / str(count), window=128).end()[1])
    assert (tmp_path / "5000.jsonl").stat().st_size > 40e6
    assert peaks[1] - peaks[0] < 20_000, f"{peaks} KiB"
