"""How a command tells that it failed: a line on stderr, or one document of JSON on stdout, and an exit code."""

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from dla.errors import DLAError
from dla.text import as_text

FAILED, WRONG_USE, STOPPED = 1, 2, 130
"""The exit codes besides 0."""


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for JSON on stdout."""
    return "--json=-" in arguments or ("--json", "-") in itertools.pairwise(arguments)


@contextlib.contextmanager
def usage_as_text(json: bool, command: str) -> Iterator[None]:
    """Shows what was given on a command line that cannot be read as text.

    Args:
        json: Whether to write a document instead.
        command: The command, for its help.
    """
    usage: Any = typer.BadParameter.__base__  # typer gives no name to the class of all such errors
    try:
        yield
    except usage as error:
        error.message = as_text(error.message)
        if not json:
            raise
        _write_document(error, f"{error.format_message()} Try '{command} --help'.", "usage")
        raise typer.Exit(WRONG_USE) from None


@contextlib.contextmanager
def errors_in_a_line(json: bool) -> Iterator[None]:
    """Any other error than these is a defect of the library, and keeps its traceback.

    Args:
        json: Whether to write a document on stdout instead of the line.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        notes = vars(stop).get("__notes__", ["Nothing was written."])
        _fail(stop, " ".join(["Stopped.", *notes]), STOPPED, json)
    except BrokenPipeError:
        # The reader has what it wanted, as `head` does. Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except (ValueError, TypeError) as error:
        # the library's messages speak to callers who have ids as integers
        _fail(error, str(error).replace("or its id.", "or its id, written id:464."), WRONG_USE, json)
    except (DLAError, OSError) as error:
        _fail(error, " ".join([str(error), *vars(error).get("__notes__", [])]), FAILED, json)
    except Exception as error:
        if json and not isinstance(error, typer.Exit):
            _write_document(error, f"{type(error).__name__}: {error}", None)
        raise


def _fail(error: BaseException, message: str, code: int, json: bool) -> None:
    if json:
        _write_document(error, message, None)
    else:
        typer.echo(f"dla: {as_text(' '.join(message.split()))}", err=True)
    raise typer.Exit(code)


def _write_document(error: BaseException, message: str, code: str | None) -> None:
    from dla.views.document import strict_json  # takes seconds
    from dla.views.error_object import error_object

    typer.echo(strict_json(error_object(error, message, code)))
