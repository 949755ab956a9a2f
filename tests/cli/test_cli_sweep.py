"""`dla sweep`: a corpus in, a folder out; mistakes are told in a line."""

import json

import pandas as pd
import pytest
import torch
from cli_assertions import assert_line, assert_usage

import dla
from dla.demo import FOLDER, load_small
from dla.demo.grammar import giving_prompts


@pytest.fixture
def corpus(tmp_path):
    """Nine rows, one of them wrong."""
    lines = [{"prompt": p.text, "answer": p.answer, "incorrect": p.incorrect} for p in giving_prompts(8)]
    lines.insert(3, {"prompt": "", "answer": " Mary"})
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture
def sweep(dla_command, corpus, tmp_path):
    """Runs `dla sweep` on the demo model; options given take the place of these."""

    def run(of=corpus, **options):
        given = {"model": FOLDER, "out": tmp_path / "out", **options}
        arguments = [word for name, value in given.items() if value is not None for word in (f"--{name}", value)]
        return dla_command("sweep", of, *arguments)

    return run


@pytest.mark.parametrize(
    ("split", "decomposer"),
    [
        ("component", dla.ComponentDecomposer()),
        ("layer", dla.LayerDecomposer()),
        ("head", dla.HeadDecomposer()),
        ("neuron", dla.NeuronDecomposer()),
        ("block", dla.BlockDecomposer()),
    ],
)
def test_each_decomposition(sweep, tmp_path, split, decomposer):
    run = sweep(decompose=split)
    assert run.exit_code == 0, run.output
    folder = dla.open_sweep(tmp_path / "out")
    assert f"{len(folder.parts)} parts" in run.stdout
    assert "8 prompts, 1 rejected" in run.stdout
    assert "1 of 9 rows were rejected:\n1 × The prompt is empty (''). Pass at least one token. (row 3)" in run.stdout
    assert f"are in {tmp_path / 'out' / 'rejected.parquet'}" in run.stdout
    assert run.stderr == ""
    assert "(complete)" in run.stdout
    assert folder.labels == dla.Attributor(load_small("raw"), decomposer).attribute("When", dla.Logit(" Mary")).labels


@pytest.mark.parametrize(
    ("ask", "direction"),
    [
        ("log-probability", dla.LogProbability(dla.Column("answer"))),
        ("centred-logit", dla.CentredLogit(dla.Column("answer"))),
        ("text", dla.Continuation(dla.Column("answer"))),
    ],
)
def test_other_questions_and_spans(sweep, tmp_path, ask, direction):
    """The command asks what the library asks with a column, of heads by a column's words."""
    rows = [{"prompt": p.text, "answer": p.answer, "verb": " ".join(p.text.split()[-3:-1])} for p in giving_prompts(4)]
    (tmp_path / "spans.csv").write_text(pd.DataFrame(rows).to_csv(index=False))
    run = sweep(of=tmp_path / "spans.csv", ask=ask, spans="verb")
    assert run.exit_code == 0, run.output
    by = dla.Attributor(load_small("raw"), dla.SourceDecomposer(spans=["verb"]))
    expected = dla.sweep(tmp_path / "spans.csv", by, tmp_path / "other", direction=direction)
    found = dla.open_sweep(tmp_path / "out")
    assert found.manifest["direction"] == expected.manifest["direction"]
    assert "L1H2 ← verb" in found.labels
    pd.testing.assert_frame_equal(found.to_dataframe(), expected.to_dataframe())


def test_spans_are_of_heads(sweep):
    assert_line(sweep(spans="verb", decompose="neuron"), 2, "--spans splits heads")


@pytest.mark.parametrize(("flag", "bos"), [("--prepend-bos", True), ("--no-prepend-bos", False)])
def test_with_and_without_bos(dla_command, corpus, tmp_path, flag, bos):
    run = dla_command("sweep", corpus, "--model", FOLDER, "--out", tmp_path / "out", "--limit", 1, flag)
    assert run.exit_code == 0, run.output
    question = pd.read_json(corpus, lines=True).iloc[0]
    direction = dla.LogitDifference(question.answer, question.incorrect)
    attributor = dla.Attributor(load_small("raw"), dla.ComponentDecomposer())
    expected = attributor.attribute(question.prompt, direction, prepend_bos=bos)
    got = dla.open_sweep(tmp_path / "out").to_dataframe()
    assert got["value"].to_numpy() == pytest.approx(expected.values[:, 0].numpy())


def test_rows_that_a_sweep_cannot_have(sweep):
    assert_line(sweep(decompose="sources"), 2, "differ from prompt to prompt", "use HeadDecomposer()")


def test_the_same_command_again_does_nothing(sweep, tmp_path):
    first = sweep(limit=3)
    assert "3 prompts, 0 rejected" in first.stdout
    assert sweep(limit=3).stdout == first.stdout
    assert_line(sweep(limit=4), 2, "limit was 3 and is 4", "Pass another folder")


def test_a_sweep_that_keeps_nothing_fails(sweep, tmp_path):
    lines = [{"prompt": p.text, "answer": " two tokens"} for p in giving_prompts(4)]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, lines)))
    told = "No row was kept", "4 of 4 rows were rejected: 4 × ' two tokens' is 2 tokens", "(rows 0, 1, 2, 3)"
    for _ in range(2):
        assert_line(sweep(of=tmp_path / "c.jsonl"), 1, *told, str(tmp_path / "out" / "rejected.parquet"))
    pd.DataFrame({"prompt": [], "answer": []}).to_parquet(tmp_path / "empty.parquet")
    assert_line(sweep(of=tmp_path / "empty.parquet", out=tmp_path / "none"), 1, "No row was kept")


def test_words_that_the_model_does_not_know_are_told_in_a_line(sweep, tmp_path):
    lines = [{"prompt": f"When Zebedee and Mary {'went to ' * i}", "answer": " Mary"} for i in range(4)]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run = sweep(of=tmp_path / "c.jsonl")
    assert (run.exit_code, run.stderr) == (0, "")
    assert run.stdout.endswith("Prompts with words that the model does not know, and reads as its unknown token: 4\n")


def test_a_folder_of_another_sweep(sweep, tmp_path):
    assert sweep().exit_code == 0
    assert_line(sweep(decompose="head"), 2, "holds a sweep of something else: the parts differ", "Pass another folder")
    file = next((tmp_path / "out" / "prompts").iterdir())
    file.unlink()
    assert_line(sweep(), 1, "is missing or damaged", "Delete the folder, and sweep again")


def test_a_folder_without_a_name_is_not_the_one_you_are_in(sweep, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert_line(sweep(out=""), 2, "The path of the folder to write is ''.")
    assert list((tmp_path / "here").iterdir()) == []


def test_ray_gets_a_model_to_load_in_its_actors(sweep, monkeypatch):
    seen = []

    def note(corpus, attributor, out, *, direction, limit, batch_tokens, prepend_bos, engine):
        seen.append((engine, direction, limit, batch_tokens, prepend_bos))
        raise dla.MissingPackageError("This engine needs Ray, which is not installed: pip install 'dla[ray]'")

    monkeypatch.setattr(dla, "sweep", note)
    assert_line(sweep(engine="ray", actors=3, limit=2, **{"batch-tokens": 99}), 1, "pip install 'dla[ray]'")
    ((engine, *others),) = seen
    assert (engine.actors, others) == (3, [None, 2, 99, None])
    assert engine.load.args == (str(FOLDER), torch.float32)


def test_ctrl_c_says_how_to_go_on(sweep, monkeypatch):
    def stop(*_, **__):
        error = KeyboardInterrupt()
        error.add_note("5 rows are done and stay; the same call resumes from there.")
        raise error

    monkeypatch.setattr(dla, "sweep", stop)
    assert_line(sweep(), 130, "Stopped. 5 rows are done and stay; the same call resumes from there.")


def test_ctrl_c_before_anything_was_done(sweep, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dla.adapters.loading.load_model", stop)
    assert_line(sweep(), 130, "Stopped. Nothing was written.")


def test_a_corpus_that_is_not_there(sweep):
    assert_line(sweep(of="nowhere.jsonl"), 2, "There is no file or folder 'nowhere.jsonl' to read a corpus from")


def test_a_corpus_without_answers(sweep, tmp_path):
    (tmp_path / "c.csv").write_text("prompt,target\nWhen Mary, John\n")
    assert_line(sweep(of=tmp_path / "c.csv"), 2, "has no column 'answer'; its columns are ['prompt', 'target']")


def test_a_disk_that_is_full(sweep, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dla, "sweep", full)
    assert_line(sweep(), 1, "No space left on device")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decompose": "sauce"}, ("--decompose", "'sauce'")),
        ({"engine": "spark"}, ("--engine", "'spark'")),
        ({"limit": 0}, ("--limit", "1")),
        ({"out": None}, ("Missing option '--out'",)),
        ({"model": None}, ("Missing option '--model'",)),
    ],
)
def test_a_command_line_that_cannot_be_read(sweep, options, words):
    assert_usage(sweep(**options), *words)


def test_mistakes_are_told_together_before_a_model_is_loaded(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("dla.cli.sweep.load_attributor", lambda *_: pytest.fail("a model is loaded"))
    (tmp_path / "file").write_text("")
    told = "There is no file or folder", "is a file. Pass the name of a folder", "--actors is of --engine ray"
    assert_line(sweep(of=tmp_path / "no.csv", out=tmp_path / "file", actors=3), 2, *told)
    (tmp_path / "c.csv").write_text("text,answer\nWhen, Mary\n")
    assert_line(sweep(of=tmp_path / "c.csv"), 2, "prompt")
    (tmp_path / "c.xlsx").write_text("")
    assert_line(sweep(of=tmp_path / "c.xlsx"), 2, "is no corpus: its name must end in")
