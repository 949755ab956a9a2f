"""Silence for what other libraries say while they load, and a sign that something is going on."""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator

from rich.console import Console

from dla.adapters.loading import without_progress_bars
from dla.errors import PromptWarning


@contextlib.contextmanager
def loading(what: str) -> Iterator[None]:
    """Shows `what` with a spinner on stderr, if that is a terminal; lets no log, warning or print through."""
    logging.disable(logging.WARNING)
    try:
        with (
            Console(stderr=True).status(what),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
            without_progress_bars(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextlib.contextmanager
def notes_in_a_line() -> Iterator[None]:
    """Says on stderr, in a line each, what the library warns about in the prompt."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PromptWarning)
        yield
    for warning in caught:
        if issubclass(warning.category, PromptWarning):
            print(f"dla: note: {warning.message}", file=sys.stderr)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
