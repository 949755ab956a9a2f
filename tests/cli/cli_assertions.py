"""How the command tells of a mistake."""


def assert_line(run, code, *words):
    """The command ended with that code and said so in one line, on stderr only."""
    assert run.exit_code == code, run.output
    assert run.stdout == ""
    assert run.stderr.startswith("dla: ")
    assert run.stderr.count("\n") == 1
    for word in words:
        assert word in run.stderr


def assert_usage(run, *words):
    """The command line could not be read: usage, and a line that says why."""
    assert run.exit_code == 2, run.output
    assert run.stdout == ""
    assert "Usage: dla" in run.stderr
    assert "Traceback" not in run.stderr
    for word in words:
        assert word in run.stderr.splitlines()[-1]
