"""Corpora: each way to have the same rows gives the same rows; what is wrong is rejected, and stops nothing."""

import json
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sweep_subjects import as_csv, as_dataset, as_lines, as_parquet, assert_every_row_once, frame, rows, write_lines

import dla
from dla.sweeps.corpora import open_corpus

pytestmark = pytest.mark.filterwarnings("ignore::dla.SweepWarning")

COUNT = 40


def as_shuffled_back_dataset(corpus, tmp_path):
    return as_dataset(corpus[::-1], tmp_path).select(range(len(corpus) - 1, -1, -1))


def as_json_with_byte_order_mark(corpus, tmp_path):
    path = as_lines(corpus, tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\n  \n")
    return path


def as_csv_of_excel(corpus, tmp_path):
    corpus.to_csv(tmp_path / "corpus.csv", index=False, encoding="utf-8-sig", lineterminator="\r\n")
    return tmp_path / "corpus.csv"


def as_folder_of_parquet(corpus, tmp_path):
    (tmp_path / "corpus").mkdir()
    for i in range(4):
        corpus[10 * i : 10 * i + 10].to_parquet(tmp_path / "corpus" / f"{i}.parquet", index=False, row_group_size=3)
    (tmp_path / "corpus" / "README.md").write_text("not read")
    return tmp_path / "corpus"


def as_list_of_json(corpus, tmp_path):
    return [write_lines(tmp_path / f"{i}.json", corpus[20 * i : 20 * i + 20].to_dict("records")) for i in (0, 1)]


WAYS = (
    *(as_dataset, as_shuffled_back_dataset, as_lines, as_json_with_byte_order_mark, as_csv, as_csv_of_excel),
    *(as_parquet, as_folder_of_parquet, as_list_of_json),
)


@pytest.fixture(scope="module")
def of_frame(heads, tmp_path_factory):
    return dla.sweep(frame(COUNT), heads, tmp_path_factory.mktemp("frame"), window=16).to_dataframe()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_same_rows_however_they_come(heads, of_frame, way, tmp_path):
    folder = dla.sweep(way(frame(COUNT), tmp_path), heads, tmp_path / "out", window=16)
    pd.testing.assert_frame_equal(folder.to_dataframe(), of_frame, check_exact=True)


WRONG = (
    ({"prompt": "", "answer": " Mary"}, "The prompt is empty"),
    ({"prompt": None, "answer": " Mary"}, "The prompt is None, of type NoneType. A prompt is a text."),
    ({"prompt": ["When", "Mary"], "answer": " Mary"}, "of type list. A prompt is a text."),
    ({"prompt": "When Mary and", "answer": " Mary John"}, "' Mary John' is 2 tokens"),
    ({"prompt": "When Mary and", "answer": " Zebedee"}, "is not in the model's vocabulary"),
    ({"prompt": "When Mary and", "answer": None}, "The row has no 'answer'. Give the token"),
    ({"prompt": "When Mary and"}, "The row has no 'answer'"),
    ({"prompt": "When Mary and", "answer": 500}, "Token id 500 is outside the vocabulary (0 to 120)"),
    ({"prompt": "When Mary and", "answer": 1.5}, "The row has 1.5, of type float, for 'answer'"),
    ({"prompt": "When Mary and", "answer": float("inf")}, "The row has inf, of type float, for 'answer'"),
    ({"prompt": "When Mary and", "answer": True}, "The row has True, of type bool, for 'answer'"),
    ({"prompt": "When Mary and", "answer": " John", "incorrect": ""}, "'' is 0 tokens"),
    ({"prompt": "When Mary and", "answer": " John", "incorrect": -1}, "Token id -1 is outside"),
    ({"prompt": "When Mary and", "answer": " John", "position": 4}, "pos=4 is out of range for a prompt of 4 tokens"),
    ({"prompt": "When Mary and", "answer": " John", "position": -5}, "pos=-5 is out of range"),
    ({"prompt": "When Mary and", "answer": " John", "position": "last"}, "The position is 'last'. Give a whole number"),
    ({"prompt": "When Mary and", "answer": " John", "position": 0.5}, "has 0.5, of type float, for 'position'"),
    ({"prompt": "Mary " * 2000, "answer": " John"}, "The prompt has 2001 tokens up to the position asked about"),
    ('{"prompt": "When Mary and", "answer":', "The line is not JSON"),
    ('["When Mary and", " John"]', "The line is JSON and no object with columns"),
    ("[" * 100_000, "The line is not JSON"),
    ('{"prompt": "caf\xe9", "answer": " John"}'.encode("latin-1"), "The row is not UTF-8 (byte 0xe9 at place 15"),
    (r'{"prompt": "When \ud83d", "answer": " John"}', "half of a surrogate pair"),
)


def test_each_wrong_row_is_rejected_with_its_reason(heads, tmp_path):
    good = rows(2 * len(WRONG))
    lines = [line for i, (wrong, _) in enumerate(WRONG) for line in (good[2 * i], wrong, good[2 * i + 1])]
    corpus = write_lines(tmp_path / "corpus.jsonl", lines)
    folder = dla.sweep(corpus, heads, tmp_path / "out", window=8)
    assert_every_row_once(folder, len(lines))
    rejected = folder.rejected()
    assert rejected["row"].tolist() == list(range(1, len(lines), 3))
    for given, (_, reason) in zip(rejected["reason"], WRONG, strict=True):
        assert reason in given
    assert (folder.manifest["counts"]["prompts"], folder.manifest["counts"]["rejected"]) == (len(good), len(WRONG))
    assert rejected["prompt"].tolist()[3] == "When Mary and"
    assert rejected["answer"].tolist()[3] == " Mary John"
    assert json.loads(rejected["prompt"].tolist()[2]) == ["When", "Mary"]
    direct = pq.read_table(tmp_path / "out" / "rejected.parquet")
    assert direct.column_names[:4] == ["row", "reason", "prompt", "answer"]
    np.testing.assert_array_equal(sorted(direct["row"].to_pylist()), rejected["row"])


def test_rows_around_wrong_ones_are_those_of_a_corpus_without_them(heads, of_frame, tmp_path):
    lines = [line for row in rows(COUNT) for line in (row, {**row, "answer": " a b"})]
    folder = dla.sweep(write_lines(tmp_path / "c.jsonl", lines), heads, tmp_path / "out", window=32)
    told = folder.to_dataframe()
    pd.testing.assert_frame_equal(told.assign(row=told["row"] // 2), of_frame, check_exact=True)


def test_a_long_prompt_whose_early_position_is_asked_fits(heads, tmp_path):
    corpus = pd.DataFrame({"prompt": ["Mary and " * 1000], "answer": [" John"], "position": [5]})
    (shard,) = dla.sweep(corpus, heads, tmp_path).shards()
    assert shard.prompts[["tokens", "at"]].to_numpy().tolist() == [[2001, 5]]


def test_a_csv_with_wrong_rows(heads, tmp_path):
    path = tmp_path / "d.csv"
    path.write_bytes(
        b"prompt,answer,incorrect,position\n"
        b"When Mary and, John, Mary,\n"
        b"When caf\xe9 and, John, Mary,\n"
        b"\n"
        b"When Mary, and, John, Mary,2\n"
        b'"When Mary , and", John, Mary,-2\n'
        b"When Mary and, John, Mary,two\n"
        b"When Mary and,7,,\n"
    )
    folder = dla.sweep(path, heads, tmp_path / "out")
    told = dict(zip(folder.rejected()["row"], folder.rejected()["reason"], strict=True))
    assert set(told) == {1, 2, 4, 5}
    assert "The row is not UTF-8 (byte 0xe9" in told[1]
    assert "The row has 5 fields and the header 4. Put texts with commas in quotes." in told[2]
    assert "The position is 'two'" in told[4]
    assert "'7' is not in the model's vocabulary" in told[5]
    assert set(folder.to_dataframe()["prompt"]) == {"When Mary and", "When Mary , and"}


def test_a_field_that_is_never_closed_costs_what_it_swallows(heads, tmp_path):
    (tmp_path / "c.csv").write_text('prompt,answer\nWhen Mary and, John\n"When Mary and, John\nWhen Mary and, John\n')
    folder = dla.sweep(tmp_path / "c.csv", heads, tmp_path / "out")
    assert folder.rejected()["row"].tolist() == [1]


def test_columns_of_several_types_become_text(heads, tmp_path):
    lines = [
        {**row, "note": note, "score": i} for i, (row, note) in enumerate(zip(rows(3), [1, "one", None], strict=True))
    ]
    (shard,) = dla.sweep(write_lines(tmp_path / "c.jsonl", lines), heads, tmp_path / "out").shards()
    assert shard.prompts["note"].tolist()[:2] == ["1", "one"]
    assert shard.prompts["note"].isna().tolist() == [False, False, True]
    assert shard.prompts["score"].dtype == np.int64


def test_every_column_comes_as_it_was(heads, tmp_path):
    corpus = frame(3).assign(
        when=pd.to_datetime(["2020-01-01", None, "2021-05-05"]),
        kind=pd.Categorical(["a", "b", "a"], categories=["c", "b", "a"], ordered=True),
        words=[["a"], [], ["b", "c"]],
        odd=[1, "one", None],
    )
    (shard,) = dla.sweep(corpus, heads, tmp_path).shards()
    pd.testing.assert_series_equal(shard.prompts["kind"], corpus["kind"])
    assert shard.prompts["when"].isna().tolist() == [False, True, False]
    assert [list(words) for words in shard.prompts["words"]] == [["a"], [], ["b", "c"]]
    assert shard.prompts["odd"].tolist()[:2] == ["1", "one"]


def test_text_in_parquet_that_is_not_utf8_is_rejected(heads, tmp_path):
    good = rows(3)
    texts = pa.array([row["prompt"].encode() for row in good[:2]] + [b"caf\xe9"]).cast("binary")
    broken = pa.Array.from_buffers(pa.string(), 3, texts.buffers())
    pq.write_table(pa.table({"prompt": broken, "answer": [row["answer"] for row in good]}), tmp_path / "c.parquet")
    folder = dla.sweep(tmp_path / "c.parquet", heads, tmp_path / "out")
    assert folder.rejected()["row"].tolist() == [2]
    assert "not UTF-8" in folder.rejected()["reason"][0]


def text_file(name, *lines):
    return lambda path: write_lines(path / name, lines)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda _: frame(2).drop(columns="answer"), ValueError, r"no column 'answer'; its columns are \['prompt', "),
        (lambda _: frame(2).assign(total=1), ValueError, "has a column 'total', and the sweep gives a column of its"),
        (lambda _: frame(2).assign(part=1), ValueError, "has a column 'part'.* Rename it"),
        (lambda _: frame(2).rename(columns={"order": 3}), ValueError, "a column named 3, which is no text"),
        (lambda _: pd.concat([frame(2)] * 2, axis=1), ValueError, "two columns 'prompt'. Rename one"),
        (lambda _: [1, 2], TypeError, "A corpus cannot be a list. Pass a pandas DataFrame"),
        (lambda _: [], TypeError, "A corpus cannot be a list. Pass a pandas DataFrame"),
        (lambda path: path / "nowhere.jsonl", ValueError, "There is no file or folder .*nowhere.jsonl"),
        (lambda path: path, ValueError, "holds no file whose name ends in .jsonl"),
        (text_file("c.txt", "a"), ValueError, "must end in .jsonl, .json, .csv, .parquet"),
        (text_file("c.jsonl"), ValueError, r"no column 'prompt'; its columns are \[\]"),
        (text_file("c.jsonl", "[]"), ValueError, "No row of .* can be read. The first: The line"),
        (text_file("c.jsonl", "{}".encode("utf-16")), ValueError, "is UTF-16, and text is read"),
        (text_file("c.csv", "prompt;answer", "a;b"), ValueError, "are .'prompt;answer'"),
        (text_file("c.csv", "prompt,answer,a,a"), ValueError, "has two columns 'a'. Rename one"),
        (text_file("c.csv", b"prompt,answer,caf\xe9"), ValueError, "The header .* is not UTF-8"),
        (text_file("c.parquet", "no"), ValueError, "is not a Parquet file, or was cut short"),
    ],
)
def test_a_corpus_that_cannot_be_swept_is_refused_before_anything_runs(heads, tmp_path, make, error, message):
    with pytest.raises(error, match=message):
        dla.sweep(make(tmp_path), heads, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "second", "message"),
    [
        ("a.csv", frame(2), "these end in .csv, .parquet. Pass one kind"),
        ("a.parquet", frame(2).assign(more=1), "b.parquet' has other columns than .*a.parquet'"),
    ],
)
def test_files_that_do_not_go_together_are_refused(heads, tmp_path, name, second, message):
    (frame(2).to_csv if name.endswith("csv") else frame(2).to_parquet)(tmp_path / name)
    second.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=message):
        dla.sweep(tmp_path, heads, tmp_path / "out")


@pytest.mark.parametrize("way", [as_lines, as_csv, as_parquet, as_dataset, lambda corpus, _: corpus])
def test_rows_are_the_same_wherever_reading_begins(way, tmp_path):
    corpus = open_corpus(way(frame(30, prompt={3: "", 7: None}), tmp_path))
    whole = [(row.number, row.values, row.fault) for row in corpus.rows(0, 30)]
    assert [number for number, *_ in whole] == list(range(30)) == list(range(corpus.size))
    for start, stop in ((10, 20), (20, 25), (28, 40), (4, 8), (0, 0), (30, 31)):
        for reader in (corpus, pickle.loads(pickle.dumps(corpus))):
            assert [(row.number, row.values, row.fault) for row in reader.rows(start, stop)] == whole[start:stop]


def test_what_changed_in_a_corpus_changes_its_fingerprint(tmp_path):
    known = {open_corpus(as_csv(frame(9), tmp_path)).fingerprint}
    for changed in (frame(8), frame(9, prompt={8: "x"}), frame(9)[::-1], frame(9).rename(columns={"order": "o"})):
        known.add(open_corpus(as_csv(changed, tmp_path)).fingerprint)
    assert len(known) == 5
    assert open_corpus(as_csv(frame(9), tmp_path)).fingerprint in known


def test_a_corpus_without_rows_is_complete(heads, tmp_path):
    folder = dla.sweep(frame(0).reindex(columns=["prompt", "answer"]), heads, tmp_path)
    assert folder.complete
    assert folder.to_dataframe().empty
    assert folder.rejected().empty


def test_a_corpus_of_which_no_row_can_be_asked_is_complete(heads, tmp_path):
    folder = dla.sweep(frame(5).assign(answer="a b"), heads, tmp_path, window=2)
    assert folder.complete
    assert len(folder.rejected()) == 5
    assert folder.to_dataframe().empty
