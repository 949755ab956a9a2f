"""What the library keeps in the user's cache is there whole or not at all."""

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from dla.demo.cached import cached_folder, user_cache

FILES = ("first", "second")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "dla"


def write(folder):
    for name in FILES:
        (folder / name).write_text(f"by {os.getpid()}")


def write_half_and_wait(folder):
    """Writes one of the files, and then takes longer than any test."""
    (folder / FILES[0]).write_text("half")
    time.sleep(600)


def write_slowly(folder):
    write(folder)
    time.sleep(0.5)


def in_a_process(how):
    process = multiprocessing.get_context("fork").Process(target=cached_folder, args=("thing", how))
    process.start()
    return process


def is_whole(folder):
    return sorted(file.name for file in folder.iterdir()) == sorted(FILES)


def unfinished(cache):
    return list(cache.glob(".thing-*"))


def test_a_folder_is_made_once(cache):
    made = cached_folder("thing", write)
    assert made == cache / "thing"
    assert is_whole(made)
    assert cached_folder("thing", lambda folder: pytest.fail("made again")) == made
    assert unfinished(cache) == []


def test_what_fails_leaves_nothing(cache):
    def fail(folder):
        write(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        cached_folder("thing", fail)
    assert not (cache / "thing").exists()
    assert unfinished(cache) == []
    assert is_whole(cached_folder("thing", write))


def test_what_a_killed_process_left_is_neither_used_nor_kept(cache):
    process = in_a_process(write_half_and_wait)
    while not list(cache.glob(".thing-*/unfinished/first")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (cache / "thing").exists()
    assert len(unfinished(cache)) == 1
    assert is_whole(cached_folder("thing", write))
    assert unfinished(cache) == []


def test_of_several_processes_one_makes_it_and_the_others_wait(cache):
    processes = [in_a_process(write_slowly) for _ in range(3)]
    mine = cached_folder("thing", write_slowly)
    assert is_whole(mine)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    (writers,) = {tuple((mine / name).read_text() for name in FILES)}
    assert len(set(writers)) == 1
    assert unfinished(cache) == []


def test_without_locks_the_first_to_finish_wins(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    (cache / ".thing-other").mkdir(parents=True)

    def write_while_another_finishes(folder):
        write(folder)
        (cache / "thing").mkdir()
        (cache / "thing" / "first").write_text("by another")

    assert (cached_folder("thing", write_while_another_finishes) / "first").read_text() == "by another"
    assert [left.name for left in unfinished(cache)] == [".thing-other"]  # it may be the other's


def test_a_folder_that_cannot_be_put_in_place_is_an_error(cache):
    def write_where_a_file_lies(folder):
        (cache / "thing").write_text("a file")

    with pytest.raises(NotADirectoryError):
        cached_folder("thing", write_where_a_file_lies)
    assert unfinished(cache) == []


@pytest.mark.parametrize("home", ["", "relative/path"])
def test_the_cache_is_in_the_home_folder_where_no_other_is_named(home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    monkeypatch.setenv("HOME", "/home/someone")
    assert user_cache() == Path("/home/someone/.cache/dla")
