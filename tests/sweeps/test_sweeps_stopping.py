"""Whatever stops a sweep, the same call resumes it: nothing twice, nothing missing, the same numbers exactly."""

import os
import random
import signal
import time

import numpy as np
import pytest
from sweep_process import SweepProcess
from sweep_subjects import Interrupted, assert_every_row_once, assert_same, frame, rows, unfinished, write_lines

import dla

pytestmark = pytest.mark.filterwarnings("ignore::dla.SweepWarning")

ROWS = 1500
KILLS = int(os.environ.get("DLA_KILLS", "20"))
"""How often the sweep is killed."""

UNFINISHED = f".dla-{'0' * 32}.part"
"""How a file is called while it is written."""

SETTINGS = {"window": 64, "batch_tokens": 256}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Lines, some of which are rejected."""
    lines = rows(ROWS)
    for i in range(0, ROWS, 40):
        lines[i]["answer"] = " two tokens"
    return write_lines(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", lines)


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory):
    """The folder of a sweep that nothing stopped."""
    out = tmp_path_factory.mktemp("undisturbed")
    assert SweepProcess(corpus=corpus, out=out, **SETTINGS).end()[0] == 0
    return dla.open_sweep(out)


def shards_in(out):
    return len(list((out / "results").glob("0*.json")))


def test_a_sweep_that_is_killed_is_resumed(corpus, undisturbed, tmp_path):
    """Killed after a random number of shards and some random milliseconds, wherever it is then."""
    expected = {shard.number: shard for shard in undisturbed.shards()}
    chance, came_to = random.Random(1), []
    for _ in range(KILLS):
        goal = shards_in(tmp_path) + chance.randint(0, len(expected) // KILLS)
        process = SweepProcess(corpus=corpus, out=tmp_path, **SETTINGS)
        while shards_in(tmp_path) < goal:
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.02 if goal else 0.2))
        assert process.end(by=signal.SIGKILL) == (-signal.SIGKILL, None)
        came_to.append(shards_in(tmp_path))
    assert 0 < came_to[KILLS // 2] < came_to[-1] < len(expected), "the kills did not come during the work"
    for shard in dla.open_sweep(tmp_path).shards():
        np.testing.assert_array_equal(shard.values, expected[shard.number].values)
    assert SweepProcess(corpus=corpus, out=tmp_path, **SETTINGS).end()[0] == 0
    assert_same(dla.open_sweep(tmp_path), undisturbed)
    assert_every_row_once(dla.open_sweep(tmp_path), ROWS)
    assert unfinished(tmp_path) == []


def test_ctrl_c_says_how_to_resume(corpus, undisturbed, tmp_path):
    process = SweepProcess(corpus=corpus, out=tmp_path, **SETTINGS)
    while shards_in(tmp_path) < 5:
        time.sleep(0.01)
    code, notes = process.end(by=signal.SIGINT)
    assert code == 130
    assert "rows are done and stay; the same call resumes" in notes[0]
    folder = dla.open_sweep(tmp_path)
    assert not folder.complete
    assert unfinished(tmp_path) == []
    counts = folder.manifest["counts"]
    assert counts["prompts"] == sum(len(shard.prompts) for shard in folder.shards()) > 0
    assert counts["rejected"] == len(folder.rejected()) > 0
    assert "not complete: the same call resumes it" in str(folder)
    assert SweepProcess(corpus=corpus, out=tmp_path, **SETTINGS).end()[0] == 0
    assert_same(dla.open_sweep(tmp_path), undisturbed)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9])
def test_a_full_disk_leaves_a_folder_that_can_be_resumed(heads, failing_writes, tmp_path, monkeypatch, n):
    corpus = frame(60, answer={3: " two tokens"})
    whole = dla.sweep(corpus, heads, tmp_path / "whole", window=20, batch_tokens=100)
    with monkeypatch.context():
        failing_writes(n)
        with pytest.raises(OSError, match="No space left") as caught:
            dla.sweep(corpus, heads, tmp_path / "full", window=20, batch_tokens=100)
        assert "rows are done and stay" in caught.value.__notes__[0]
        assert unfinished(tmp_path / "full") == []
        stopped = dla.open_sweep(tmp_path / "full")
        assert not stopped.complete
        done = sum(len(shard.prompts) for shard in stopped.shards())
        assert done == stopped.manifest["counts"]["prompts"] < 59
    assert_same(dla.sweep(corpus, heads, tmp_path / "full", window=20, batch_tokens=100), whole)


def test_a_disk_too_full_for_the_first_file(heads, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.write_text", full)
        with pytest.raises(OSError, match="No space left"):
            dla.sweep(frame(4), heads, tmp_path)
    assert unfinished(tmp_path) == []
    assert dla.sweep(frame(4), heads, tmp_path).complete


def test_what_a_killed_sweep_left_half_written_is_removed(heads, failing_writes, tmp_path, monkeypatch):
    with monkeypatch.context():
        failing_writes(1)
        with pytest.raises(OSError, match="No space left"):
            dla.sweep(frame(4), heads, tmp_path)
    (tmp_path / "parts" / UNFINISHED).write_bytes(b"half")
    (tmp_path / "parts" / "00000000.parquet").write_bytes(b"of a shard whose prompts were never written")
    assert list(dla.open_sweep(tmp_path).shards()) == []
    assert_every_row_once(dla.sweep(frame(4), heads, tmp_path), 4)
    assert unfinished(tmp_path) == []


def test_what_others_left_half_written_is_theirs(heads, tmp_path):
    out = tmp_path / "out"
    dla.sweep(frame(4), heads, out)
    others = [
        out / ".thesis.tex.part",
        out / "parts" / ".download.part",
        out / ".dla-12.part",
        out / "own" / UNFINISHED,
    ]
    (out / "own").mkdir()
    for file in others:
        file.write_text("years of work")
    (out / "parts" / UNFINISHED).symlink_to(others[0])
    assert dla.sweep(frame(4), heads, out).complete
    assert {file.read_text() for file in others} == {"years of work"}


def leave_a_file(folder):
    """As an actor does that dies while it writes."""
    (folder / "rejected" / UNFINISHED).write_bytes(b"half")


def test_what_an_actor_that_died_left_half_written_is_removed(heads, tmp_path):
    assert dla.sweep(frame(6, prompt={2: ""}), heads, tmp_path, engine=Interrupted(leave_a_file)).complete
    assert unfinished(tmp_path) == []
    assert not (tmp_path / "rejected").exists()


def test_a_complete_folder_returns_at_once(heads, tmp_path, monkeypatch):
    first = dla.sweep(frame(6), heads, tmp_path)
    monkeypatch.setattr("dla.sweeps.sweeping._run", None)
    again = dla.sweep(frame(6), heads, tmp_path)
    assert again.manifest == first.manifest
    assert again.complete


def test_pieces_that_a_kill_at_the_very_end_left_are_removed(heads, tmp_path):
    corpus = frame(6, prompt={2: ""})
    dla.sweep(corpus, heads, tmp_path)
    (tmp_path / "rejected").mkdir()
    (tmp_path / "rejected" / "00000000.parquet").write_bytes((tmp_path / "rejected.parquet").read_bytes())
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "00000000.json").write_text("{}")
    again = dla.sweep(corpus, heads, tmp_path)
    assert again.rejected()["row"].tolist() == [2]
    assert not (tmp_path / "rejected").exists()
    assert not (tmp_path / "results").exists()
