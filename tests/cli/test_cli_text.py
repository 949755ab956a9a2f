"""What a user, a model or a corpus brings is text on the terminal and in a CSV file, whatever it looks like."""

import csv
import shutil

import pandas as pd
import pytest
from cli_assertions import assert_line

import dla
import dla.demo

HOSTILE = ["[/INST]", "[link=https://x.y]z[/link]", "\x1b]8;;https://x.y\x07", "\u202e:smile:"]
FORMULA = "=1+cmd|' /C calc'!A0"


def assert_plain(run):
    assert "Traceback" not in run.output
    assert not set(run.output) & {"\x1b", "\x07", "\u202e", "\U0001f604"}


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_what_is_asked_on_the_command_line_is_text(attribute, dla_command, text):
    for run in (attribute(model=f"./{text}"), attribute(answer=text), attribute(prompt=text, json=f"no/{text}")):
        assert_line(run, 2)
        assert_plain(run)
    for run in (
        attribute(prompt=f"{text} When Mary"),
        dla_command("attribute", f"--{text}"),
        dla_command("demo", text),
    ):
        assert_plain(run)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_names_of_folders_are_text(dla_command, tmp_path, text):
    folder = tmp_path / text.replace("/", "|")
    rows = pd.DataFrame({"prompt": ["Tom and Amy found a ring"] * 2, "answer": [" Tom", "nothing known"]})
    attributor = dla.Attributor(dla.demo.load_small("raw"), dla.ComponentDecomposer())
    with pytest.warns(dla.SweepWarning) as told:
        done = dla.sweep(rows, attributor, folder)
    shown = [str(done), repr(done), str(told[0].message), repr(dla.Summary.load(folder))]
    assert not any(set(text) & {"\x1b", "\x07", "\u202e"} for text in shown)
    shutil.copytree(folder, tmp_path / "again")
    assert_plain(dla_command("summary", folder, "--compare", tmp_path / "again"))
    assert_plain(dla_command("summary", folder / text.replace("/", "|")))


def test_cells_that_begin_like_a_formula_are_quoted(dla_command, tmp_path):
    rows = pd.DataFrame(
        {"prompt": ["Tom and Amy found a ring"] * 3, "answer": [" Tom"] * 3, "@sum": [FORMULA, "+1-2", "-0.5"]}
    )
    attributor = dla.Attributor(dla.demo.load_small("raw"), dla.ComponentDecomposer())
    dla.sweep(rows, attributor, tmp_path / "sweep")
    run = dla_command("summary", tmp_path / "sweep", "--by", "@sum", "--csv", tmp_path / "means.csv")
    assert run.exit_code == 0, run.output
    header, *lines = csv.reader((tmp_path / "means.csv").read_text(encoding="utf-8").splitlines())
    assert header[0] == "'@sum"
    assert {line[0] for line in lines} == {f"'{FORMULA}", "'+1-2", "-0.5"}
    means = [float(line[header.index("mean")]) for line in lines]
    assert min(means) < 0 < max(means)
