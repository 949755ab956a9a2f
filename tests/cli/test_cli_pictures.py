"""Pictures, pages and tables that the command writes; terminals that know little; readers that stop early."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from cli_assertions import assert_line, assert_usage
from rich.console import Console

import dla
import dla.demo
from dla.views.files import check_writable

PROMPT = "When Mary and John went to the store , John gave a drink to"
HEADS = {"incorrect": " John", "decompose": "head"}


@pytest.fixture(scope="module")
def result():
    attributor = dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer())
    return attributor.attribute(PROMPT, dla.LogitDifference(" Mary", " John"))


def test_all_files_at_once(attribute, result, tmp_path):
    files = {"csv": "a.csv", "json": "a.json", "plot": "a.svg", "report": "a.html"}
    run = attribute(**HEADS, sources=3, **{option: tmp_path / name for option, name in files.items()})
    assert run.exit_code == 0, run.output
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files.values())
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["part"] for row in rows] == result.labels
    assert [float(row["value"]) for row in rows] == pytest.approx(result.values[:, 0].tolist())
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert '"sources":{"rows":' in page
    assert '"promoted":{' in page


def test_files_are_there_when_nobody_reads_the_table(attribute, tmp_path, monkeypatch):
    def closed(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(Console, "print", closed)
    attribute(csv=tmp_path / "a.csv")
    assert (tmp_path / "a.csv").is_file()


def test_a_picture_as_svg_shows_each_head(attribute, result, tmp_path):
    attribute(**HEADS, plot=tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    titles = {element.text for element in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}title")}
    for label, value in zip(result.labels, result.values[:, 0].tolist(), strict=True):
        if label.startswith("L") or "mlp" in label:
            assert f"{label} {value:+.4f}" in titles
    attribute(plot=tmp_path / "b.svg")
    steps = (tmp_path / "b.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(steps)
    assert ">constant<" in steps
    assert ">1_attn_out<" in steps


def test_a_picture_as_html_needs_no_network(attribute, tmp_path):
    assert attribute(**HEADS, plot=tmp_path / "a.html").exit_code == 0
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "Plotly.newPlot" in text
    assert '<script src="' not in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"plot": "a.png"}, ("--plot 'a.png': a picture is an .html or an .svg file",)),
        ({"report": "a.csv"}, ("--report 'a.csv' has the ending of another format", "Name it 'a.html'")),
        ({"csv": "a.html"}, ("--csv 'a.html' has the ending of another format", "Name it 'a.csv'")),
        ({"plot": "no/a.svg"}, ("--plot 'no/a.svg': there is no folder 'no'",)),
        ({"plot": "a.html", "report": "./a.html"}, ("--plot and --report both name 'a.html'. Give each",)),
        ({"report": "/proc/a.html"}, ("--report '/proc/a.html' cannot be written: No such file",)),
        ({"sources": 3}, ("--sources is of the page that --report writes",)),
        ({"sources": 3, "report": "a.html"}, ("rows are those of --decompose component. Add --decompose head",)),
        ({"prompt": "", "answer": ""}, ("--prompt is empty", "--answer '' is no token")),
        ({"incorrect": " Mary"}, ("--incorrect is the --answer too",)),
        (
            {"sources": 3, "top": 2, "decompose": "layer", "plot": "a.png", "csv": "b.html"},
            (
                "--top chooses",
                "--sources is of",
                "Add --decompose head",
                "--plot 'a.png'",
                "--csv 'b.html' has the ending",
            ),
        ),
    ],
)
def test_mistakes_are_told_together_before_a_model_is_loaded(attribute, options, words, monkeypatch):
    monkeypatch.setattr("dla.cli.attribute.load_attributor", lambda *_: pytest.fail("a model is loaded"))
    assert_line(attribute(**options), 2, *words)


def test_a_picture_that_needs_plotly(attribute, tmp_path, monkeypatch):
    monkeypatch.setattr("dla.cli.files.lacks_package", lambda package: package == "plotly")
    monkeypatch.setattr("dla.cli.attribute.load_attributor", lambda *_: pytest.fail("a model is loaded"))
    assert_line(
        attribute(plot=tmp_path / "a.html"), 2, "--plot draws .html files with plotly", "pip install 'dla[plot]'"
    )


def test_what_is_checked_is_left_as_it_was(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("the old one")
    check_writable(file)
    check_writable(tmp_path / "new.csv")
    assert file.read_text() == "the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_sweep_as_a_page(dla_command, tmp_path):
    rows = pd.DataFrame({"prompt": [PROMPT] * 3, "answer": [" Mary"] * 3, "order": ["a", "a", "</script>"]})
    attributor = dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer())
    folder = dla.sweep(rows, attributor, tmp_path / "s")
    run = dla_command("report", tmp_path / "s", "--out", tmp_path / "s.html", "--by", "order")
    assert run.exit_code == 0, run.output
    assert run.stdout.replace("\n", "").endswith("s.html: 20 parts, 3 prompts")
    page = (tmp_path / "s.html").read_text(encoding="utf-8")
    assert '"groups":["all, 3 prompts","\\u003c/script\\u003e, 1 prompts","a, 2 prompts"]' in page
    assert page.count("</script>") == 2
    assert dla.Summary.load(folder.path).labels == attributor.attribute(PROMPT, dla.Logit(" Mary")).labels
    assert_line(dla_command("report", tmp_path, "--out", tmp_path / "t.html"), 2, "is not a sweep's folder")
    told = "There is no folder", "Pass one that dla sweep wrote", "has the ending of another format"
    assert_line(dla_command("report", tmp_path / "no", "--out", tmp_path / "t.csv"), 2, *told)
    assert_line(dla_command("report", tmp_path / "s", "--out", tmp_path / "t.csv"), 2, "--out 't.csv' has the ending")
    assert_usage(dla_command("report", tmp_path / "s"), "Missing option '--out'")


@pytest.mark.parametrize("command", ["attribute", "sweep", "summary", "report"])
def test_help_shows_examples(dla_command, command):
    shown = dla_command(command, "--help").stdout
    assert f"  dla {command} " in shown.partition("Examples:")[2]


def test_completion_can_be_installed(dla_command):
    assert "--install-completion" in dla_command("--help").stdout


COMMAND = [sys.executable, "-m", "dla", "attribute", "--model", str(dla.demo.FOLDER), "--prompt", PROMPT]
COMMAND += ["--answer", " Mary", "--decompose", "head"]


def test_a_terminal_that_knows_only_ascii_and_a_reader_that_stops_early():
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    run = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | head -8', "bash", *COMMAND],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        encoding="utf-8",
    )
    assert run.returncode in (0, 1)
    assert run.stderr == ""
    assert run.stdout.isascii()
    assert "####" in run.stdout
    assert "\x1b" not in run.stdout


def test_files_hold_texts_and_no_commands(attribute, tmp_path):
    hostile = "</script><b> \x1b]8;;x\x07 When Mary"
    run = attribute(prompt=hostile, report=tmp_path / "a.html", plot=tmp_path / "a.svg", csv=tmp_path / "a.csv")
    assert run.exit_code == 0, run.output
    for path in tmp_path.iterdir():
        assert "\x1b" not in Path(path).read_text(encoding="utf-8")
    ElementTree.fromstring((tmp_path / "a.svg").read_text(encoding="utf-8"))
