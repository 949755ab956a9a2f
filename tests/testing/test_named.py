"""The checks from a shell and from pytest, and what their reports say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from named_subjects import Raises
from rich.console import Console

import dla
from dla.testing import check_adapter, check_decomposer
from dla.testing.__main__ import check_from_shell
from dla.testing.models import architecture
from dla.testing.named import subject_named
from dla.testing.report import CheckResult, Report

HERE = Path(__file__).parent


def test_the_exit_code_says_whether_all_is_right(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert check_from_shell(["named_subjects:Nine"]) == 0
    assert check_from_shell(["named_subjects:Nine", "named_subjects:Nothing", "--html", str(page)]) == 1
    assert "nothing is read" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert text.count("</table>") == 2
    assert "✗" in text
    assert "seconds</th>" in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("named_subjects", "names nothing to check. Pass mypackage.mymodule:MyDecomposer"),
        ("no_such_module:X", "no_such_module cannot be imported"),
        ("named_subjects:Missing", "Missing is not in named_subjects"),
        ("named_subjects:WantsMore", "wants layers. Name an instance"),
    ],
)
def test_what_cannot_be_named_is_told(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_from_shell([name]) == 2
    assert words in capsys.readouterr().err


def test_an_instance_is_taken_as_it_is() -> None:
    assert isinstance(subject_named("named_subjects:Nine"), dla.Direction)
    assert subject_named("dla.writes.routes:DIRECT") is dla.writes.DIRECT


def test_pytest_checks_what_is_named_without_a_test_file(tmp_path: Path) -> None:
    names = ("named_subjects:Nine", "named_subjects:Nothing")
    options = [option for name in names for option in ("--dla-check", name)]
    code = f"import sys; sys.path.insert(0, {str(HERE)!r}); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    run = subprocess.run(
        [sys.executable, "-c", code, "-q", "-p", "dla_pytest", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "1 failed, 1 passed" in run.stdout
    assert "nothing is read" in run.stdout


def test_an_exception_is_shown_with_its_line_its_call_and_what_was_expected() -> None:
    failure = check_decomposer(Raises(), models=["gpt2"]).first_failure()
    assert failure is not None
    assert failure.raised
    for words in (
        "it raises KeyError: 'no such key'",
        "of named_subjects.py: 'return [{}[\"no such key\"]]'",
        "called by planning.py, find_in_plan",
        "expected: `Decomposer.writes`: The plan: what to read",
    ):
        assert words in failure.problem, failure.problem


def test_what_tells_most_is_first_and_an_exception_last() -> None:
    steps = (CheckResult("a"), CheckResult("b", problem="it raises", raised=True), CheckResult("c", problem="off"))
    assert Report("t", steps).first_failure() == steps[2]
    assert Report("t", steps[:2]).first_failure() == steps[1]


def test_a_report_has_its_times_where_it_is_shown_and_not_in_its_text() -> None:
    report = Report("t", (CheckResult("a", "b", "two\nlines", seconds=1.25),))
    console = Console(width=80)
    with console.capture() as capture:
        console.print(report)
    assert "1.2" in capture.get()
    assert "seconds" not in str(report)
    assert "two<br>lines" in report._repr_html_()


def test_what_is_declared_is_printed_beside_what_was_measured() -> None:
    text = re.sub(r"[\s│]+", " ", str(check_adapter(architecture("gpt2").bridge())))  # as cells are wrapped
    told = re.search(r"eps declared 1e-05, measured (\S+)", text)
    assert told is not None
    assert float(told[1]) == pytest.approx(1e-5, rel=0.05)  # in float32, of numbers near 1
    assert "dtype torch.float32; measured: activations in torch.float32" in text
