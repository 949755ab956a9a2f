"""A corpus that changes while it is read: no row of the new one is taken, and with the old one the sweep goes on."""

import pytest
from sweep_subjects import Interrupted, as_csv, as_lines, as_parquet, assert_same, frame

import dla
from dla.sweeps.corpora import open_corpus

ROWS = 40
SETTINGS = {"window": 10, "batch_tokens": 200}


def written(way, tmp_path, corpus):
    """The file's path, and what writes another corpus into it."""
    path = way(corpus, tmp_path)
    return path, lambda other: way(other, tmp_path)


def other_rows(corpus):
    return frame(2 * ROWS)[ROWS:].reset_index(drop=True)


def other_answer(corpus):
    return corpus.assign(answer=[*corpus["answer"][:-1], corpus["incorrect"].iloc[-1] + "s"])


def cut_short(corpus):
    return corpus[: ROWS // 2]


def longer(corpus):
    return frame(ROWS + 1)


CASES = (
    *((as_lines, change, 1) for change in (other_rows, other_answer, cut_short, longer)),
    *((as_csv, other_rows, 1), (as_parquet, cut_short, 1)),
    *((as_lines, other_rows, None), (as_csv, longer, None)),
)


def named(value):
    return value.__name__ if callable(value) else f"after {value}"


@pytest.mark.parametrize(("way", "change", "after"), CASES, ids=named)
def test_a_corpus_that_is_written_anew(heads, tmp_path, way, change, after):
    corpus = frame(ROWS)
    path, write = written(way, tmp_path, corpus)
    engine = Interrupted(lambda _: write(change(corpus)), after)
    with pytest.raises(
        dla.DLAError, match=r"changed while it was read: (row \d+ is not what it was|it cannot be read)"
    ):
        dla.sweep(path, heads, tmp_path / "out", engine=engine, **SETTINGS)
    assert not dla.open_sweep(tmp_path / "out").complete
    with pytest.raises(ValueError, match="the corpus differs"):
        dla.sweep(path, heads, tmp_path / "out", **SETTINGS)
    write(corpus)
    whole = dla.sweep(path, heads, tmp_path / "whole", **SETTINGS)
    assert_same(dla.sweep(path, heads, tmp_path / "out", **SETTINGS), whole)


def test_a_corpus_that_is_deleted(heads, tmp_path):
    path = as_lines(frame(ROWS), tmp_path)
    with pytest.raises(dla.DLAError, match=r"c.jsonl' changed while it was read: it cannot be read any more .*No such"):
        dla.sweep(path, heads, tmp_path / "out", engine=Interrupted(lambda _: path.unlink(), 1), **SETTINGS)


@pytest.mark.parametrize("way", [as_lines, as_csv, as_parquet], ids=lambda way: way.__name__)
def test_which_row_changed_is_said(tmp_path, way):
    corpus = frame(ROWS)
    path, write = written(way, tmp_path, corpus)
    opened = open_corpus(path)
    opened.check()
    for change, row in ((other_answer, ROWS - 1), (cut_short, ROWS // 2), (longer, ROWS)):
        write(change(corpus))
        with pytest.raises(dla.DLAError, match=f"row {row} is not what it was. No row of it was mixed"):
            opened.check()
    write(corpus)
    opened.check()
