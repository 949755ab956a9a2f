"""Silence for what other libraries say while they load, and a sign that something is going on."""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence

from rich.console import Console

import dla
from dla.cli.decomposing import decomposer_of
from dla.errors import DLAWarning
from dla.text import as_text
from dla.views.text import as_printed


@contextlib.contextmanager
def loading(what: str) -> Iterator[None]:
    """Shows `what` with a spinner on stderr, if that is a terminal; lets only our own warnings through."""
    logging.disable(logging.WARNING)
    try:
        with (
            Console(stderr=True).status(as_printed(what)),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(record=True) as caught,
            _without_progress_bars(),
        ):
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", DLAWarning)
            yield
    finally:
        logging.disable(logging.NOTSET)
    _tell(caught)


def load_attributor(model: str, decompose: str, dtype: str = "float32") -> "dla.Attributor":
    """Loads a model, and makes its attributor.

    Args:
        model: A folder, or the name of a hub model.
        decompose: A value of `--decompose`.
        dtype: A value of `--dtype`.

    Raises:
        DLAError: If the model cannot be loaded or attributed.
    """
    with loading(f"loading {model}"):
        import torch

        from dla.adapters.loading import load_model

        return dla.Attributor(load_model(model, getattr(torch, dtype)), decomposer_of(decompose))


@contextlib.contextmanager
def notes_in_a_line() -> Iterator[None]:
    """Says on stderr, in a line each, what the library warns about."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DLAWarning)
        yield
    for warning in _tell(caught):
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _without_progress_bars() -> contextlib.AbstractContextManager[None]:
    from dla.adapters.loading import without_progress_bars  # takes seconds, under the spinner

    return without_progress_bars()


def _tell(caught: Sequence[warnings.WarningMessage]) -> list[warnings.WarningMessage]:
    """Says the library's own warnings; gives back the others."""
    own = [warning for warning in caught if issubclass(warning.category, DLAWarning)]
    for message in dict.fromkeys(str(warning.message) for warning in own):
        print(f"dla: note: {as_text(message)}", file=sys.stderr)
    return [warning for warning in caught if warning not in own]
