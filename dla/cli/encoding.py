"""Characters that a terminal does not have, as with LC_ALL=C: shown by others, since a table is no reason to fail."""

import codecs
import io
import sys

_OTHERS = {"█": "#", "←": "<-", "…": "...", "×": "x", "−": "-", "±": "+-", "▲": "^", "▼": "v"}
_HANDLER = "dla-plain"


def replace_unknown_characters() -> None:
    """From now on stdout and stderr show what they can."""
    codecs.register_error(_HANDLER, _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    unknown = error.object[error.start : error.end]
    return "".join(_OTHERS.get(character, "?") for character in unknown), error.end
