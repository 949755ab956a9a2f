"""`dla summary` on a sweep of the demo model."""

import shutil
from dataclasses import asdict

import pandas as pd
import pytest
import torch

import dla
import dla.demo

N = 40


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three sweeps of one corpus: two models asked the same, and one model asked something else."""
    at = tmp_path_factory.mktemp("sweeps")
    corpus = pd.DataFrame(map(asdict, dla.demo.giving_prompts(N))).rename(columns={"text": "prompt"})
    attributor = dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer())
    dla.sweep(corpus, attributor, at / "both")
    dla.sweep(corpus, dla.Attributor(ablated(), dla.HeadDecomposer()), at / "ablated")
    dla.sweep(corpus.drop(columns="incorrect"), attributor, at / "alone")
    return at / "both", at / "ablated", at / "alone"


def ablated():
    """The model without its head L0H0."""
    model = dla.demo.load_small("raw")
    with torch.no_grad():
        model.blocks[0].attn.o.weight[: model.cfg.d_head] = 0
    return model


def cells(run):
    """The rows of the printed table."""
    lines = [line.strip("│").split("│") for line in run.stdout.splitlines() if line.startswith("│")]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}


def test_the_table_of_the_means_is_printed(dla_command, folders):
    run = dla_command("summary", folders[0])
    assert (run.exit_code, run.stderr) == (0, "")
    summary = dla.Summary.load(folders[0])
    table = cells(run)
    frame = summary.to_dataframe().set_index("part")
    assert set(summary.labels) <= set(table)
    for label in summary.labels:
        assert float(table[label][0]) == pytest.approx(frame.loc[label, "mean"], abs=6e-5)
    assert "the model's own logit" in table
    assert f"HeadDecomposer on model, mean over {N} prompts" in run.stdout


def test_groups_and_top(dla_command, folders):
    run = dla_command("summary", folders[0], "--by", "order", "--top", 2)
    assert run.exit_code == 0, run.output
    summary = dla.Summary.load(folders[0], "order")
    ends = [label for label, _ in (*summary.top(2), *summary.bottom(2)[::-1])]
    assert list(cells(run))[:4] == ends
    assert all(name in run.stdout for name in ("by order", "ABBA", "BABA"))
    both = dla_command("summary", folders[0], "--by", "order", "--by", "template")
    assert "by order and template" in both.stdout


def test_prompts_of_a_part(dla_command, folders):
    run = dla_command("summary", folders[0], "--prompts", "L1H1")
    summary = dla.Summary.load(folders[0])
    largest, smallest = run.stdout.split("L1H1 is largest on\n")[1].split("L1H1 is smallest on\n")
    for shown, examples in ((largest, summary.top_prompts("L1H1", 5)), (smallest, summary.bottom_prompts("L1H1", 5))):
        lines = shown.splitlines()
        assert len(lines) == 5
        for line, example in zip(lines, examples, strict=True):
            assert line == f"  {example.value:+.4f}  row {example.row}: {example.prompt!r} {example.answer!r}"


def test_a_comparison_and_its_csv(dla_command, folders, tmp_path):
    run = dla_command("summary", folders[0], "--by", "order", "--compare", folders[1], "--csv", tmp_path / "x.csv")
    assert (run.exit_code, run.stderr) == (0, "")
    assert run.stdout.replace("\n", "").startswith(f"first: {folders[0]}second: {folders[1]}")
    comparison = dla.Summary.load(folders[0], "order").compare(dla.Summary.load(folders[1]))
    assert f"{N} pairs" in run.stdout
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "x.csv"), comparison.to_dataframe(), check_dtype=False)


def test_the_csv_of_a_summary(dla_command, folders, tmp_path):
    run = dla_command("summary", folders[0], "--csv", tmp_path / "x.csv")
    assert run.exit_code == 0, run.output
    frame = dla.Summary.load(folders[0]).to_dataframe()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "x.csv"), frame, check_dtype=False)


def test_a_summary_is_the_mean_of_attributions(folders):
    corpus = dla.demo.giving_prompts(N)
    attributor = dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer())
    direction = dla.LogitDifference([p.answer for p in corpus], [p.incorrect for p in corpus])
    result = attributor.attribute([p.text for p in corpus], direction)
    frame, sums = dla.Summary.load(folders[0]).to_dataframe(), dla.Summary.load(folders[0]).sums().set_index("sum")
    assert frame["part"].tolist() == result.labels
    assert frame["mean"].to_numpy() == pytest.approx(result.values.double().mean(1).numpy(), abs=1e-5)
    assert sums.loc["logit", "mean"] == pytest.approx(float(result.logit.double().mean()), abs=1e-5)
    assert sums.loc["misfit", "max"] <= 1


def assert_line(run, code, *words):
    assert run.exit_code == code, run.output
    assert run.stdout == ""
    assert run.stderr.startswith("dla: ")
    assert run.stderr.count("\n") == 1
    for word in words:
        assert word in run.stderr


def test_mistakes_are_told_in_a_line(dla_command, folders, tmp_path):
    assert_line(dla_command("summary", tmp_path), 2, "is not a sweep's folder", "Pass one that dla sweep wrote")
    assert_line(dla_command("summary", tmp_path / "no"), 2, "There is no folder", "Pass one that dla sweep wrote")
    assert_line(dla_command("summary", folders[0], "--by", "oder"), 2, "no column 'oder'", "Close to it: order")
    assert_line(dla_command("summary", folders[0], "--csv", tmp_path / "no/x.csv"), 2, "--csv", "Make it")
    assert_line(dla_command("summary", folders[0], "--prompts", "L9H9"), 2, "There is no part 'L9H9'")
    assert_line(dla_command("summary", folders[0], "--compare", tmp_path), 2, "is not a sweep's folder")
    other = dla_command("summary", folders[0], "--compare", folders[2])
    assert_line(other, 2, "asks for the logit of answer - logit of incorrect", "sweep again with the same corpus")


def test_a_sweep_that_kept_nothing_has_no_table(dla_command, folders, tmp_path):
    corpus = pd.DataFrame({"prompt": ["When Mary and"] * 3, "answer": [" a b"] * 3})
    with pytest.warns(dla.SweepWarning, match="No row was kept"):
        dla.sweep(corpus, dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer()), tmp_path / "none")
    told = "all 3 rows were rejected", "rejected.parquet there lists them with their reasons"
    assert_line(dla_command("summary", tmp_path / "none"), 1, *told)
    assert_line(dla_command("summary", tmp_path / "none", "--csv", tmp_path / "x.csv"), 1, *told)
    assert not (tmp_path / "x.csv").exists()
    assert_line(dla_command("summary", tmp_path / "none", "--by", "answer"), 1, *told)
    assert_line(dla_command("summary", folders[0], "--compare", tmp_path / "none"), 1, *told)


def test_a_damaged_folder(dla_command, folders, tmp_path):
    folder = shutil.copytree(folders[0], tmp_path / "copy")
    file = next((folder / "parts").iterdir())
    file.write_bytes(file.read_bytes()[:-1])
    assert_line(dla_command("summary", folder), 1, "is missing or damaged", "Delete the folder, and sweep again")


def test_ctrl_c(dla_command, folders, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(dla.Summary, "load", stop)
    assert_line(dla_command("summary", folders[0]), 130, "Stopped. Nothing was written.")


def test_a_command_line_that_cannot_be_read(dla_command, folders):
    for arguments, words in (((), "Missing argument 'DIR'"), ((folders[0], "--top", 0), "--top")):
        run = dla_command("summary", *arguments)
        assert (run.exit_code, run.stdout) == (2, "")
        assert words in run.stderr


def test_help_names_the_command(dla_command):
    assert "summary" in dla_command("--help").stdout
    assert "--compare" in dla_command("summary", "--help").stdout
