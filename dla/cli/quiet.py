"""Silence for what other libraries say while they load, and a sign that something is going on."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

from rich.console import Console

from dla.adapters.loading import without_progress_bars


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
