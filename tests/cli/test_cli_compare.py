"""`dla compare` on two saved attributions and on two sweeps."""

import pandas as pd
import pytest
from rich.console import Console

import dla
import dla.demo

PROMPT = "When Mary and John went to the store , John gave a drink to"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two files, and two folders."""
    at = tmp_path_factory.mktemp("results")
    attributor = dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer())
    asked = dla.LogitDifference(" Mary", " John")
    attributor.attribute(PROMPT, asked).save(at / "a.nc")
    attributor.attribute(PROMPT, asked, edits=[dla.Edit("L0H0", dla.Zero())]).save(at / "b.nc")
    corpus = pd.DataFrame({"prompt": [PROMPT], "answer": [" Mary"], "incorrect": [" John"]})
    for name in ("one", "two"):
        dla.sweep(corpus, attributor, at / name, progress=False)
    return at


def test_two_files_are_compared(dla_command, results) -> None:
    run = dla_command("compare", str(results / "a.nc"), str(results / "b.nc"), "--csv", str(results / "d.csv"))
    assert run.exit_code == 0, run.stderr
    first, second = (dla.load(results / name) for name in ("a.nc", "b.nc"))
    largest, value = (first - second).top(1)[0]
    assert f"{value:+.4f}" in next(line for line in run.stdout.splitlines() if largest in line)
    assert "not edited" in run.stdout
    frame = pd.read_csv(results / "d.csv")
    assert frame.difference.sum() == pytest.approx(float((first - second).values.sum()), rel=1e-4)


def test_the_file_is_there_when_nobody_reads_the_table(dla_command, results, tmp_path, monkeypatch) -> None:
    def closed(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(Console, "print", closed)
    dla_command("compare", str(results / "a.nc"), str(results / "b.nc"), "--csv", str(tmp_path / "d.csv"))
    assert (tmp_path / "d.csv").is_file()


def test_two_sweeps_are_compared_and_two_kinds_are_not(dla_command, results) -> None:
    run = dla_command("compare", str(results / "one"), str(results / "two"))
    assert run.exit_code == 0, run.stderr
    assert "difference" in run.stdout
    run = dla_command("compare", str(results / "one"), str(results / "a.nc"))
    assert run.exit_code != 0
    assert "is a folder and" in run.stderr
    assert "Two files of attributions are compared, or two folders of sweeps" in run.stderr
    run = dla_command("compare", str(results / "no"), str(results / "none"), "--csv", str(results))
    assert run.exit_code == 2
    for told in ("There is no file or folder", "none'", "--csv", "is a folder. Pass the name of a file"):
        assert told in run.stderr
