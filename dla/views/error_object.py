"""An error as an object: a stable code, the wrong value, what happened and what to do."""

import re
from typing import Any

from dla.errors import DLAError, DLAWarning, SweepWarning
from dla.text import as_text
from dla.views.document import document

_CODES: tuple[tuple[type[BaseException], str], ...] = (
    (FileNotFoundError, "no_such_file"),
    (OSError, "file_error"),
    (TypeError, "wrong_type"),
    (IndexError, "wrong_value"),
    (ValueError, "wrong_value"),
    (KeyboardInterrupt, "stopped"),
)
"""The codes of errors that are not the library's own, which have theirs in `code`."""

_DO = (
    "Adapt Ask Attribute Call Compare Decode Decompose Delete Detach Draw Edit Give Group Install Leave Let Load Look "
    "Make Merge Name Pass Pickle Plot Put Remove Rename Return Reword Save Set Shorten Split Subtract Sweep Take Trace "
    "Try Use Wait Write"
)
_REMEDY = re.compile(rf"(?:^|(?<=[.!?)'\"] ))(?:{'|'.join(_DO.split())})\b")
_REMEDY_IN_SENTENCE = re.compile(rf"(?<=[:;,] )(?:pip install|{'|'.join(_DO.lower().split())})\b")
_SENTENCE = re.compile(r"(?<=[.!?)]) (?=[A-Z`'])")
_QUOTED = r"(?<![\w'\"])(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")(?!\w)"
_VALUE = re.compile(rf"{_QUOTED}|(?<=\w=)[^\s;:,]+|(?<![\w.])-?\d[\d.e+-]*\b")


def error_object(error: BaseException, message: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error as `dla.result/1` has it.

    Args:
        error: The error, or a warning.
        message: What to say instead of its own text, with its notes.
        code: Its code, where the class does not say it.

    Examples:
        >>> told = error_object(ValueError("pos=9 is out of range for 3 tokens. Pass one from -3 to 2."))["error"]
        >>> told["code"], told["value"], told["remedy"]
        ('wrong_value', '9', 'Pass one from -3 to 2.')
    """
    own = " ".join([str(error), *vars(error).get("__notes__", [])]) if message is None else message
    text = as_text(" ".join(own.split())) or type(error).__name__
    found = _VALUE.search(text)
    told = {
        "code": code or code_of(error),
        "message": text,
        "value": found[0] if found else None,
        "remedy": _remedy(text),
    }
    return document("error", error=told)


def code_of(error: BaseException) -> str:
    """The stable code of an error: another spelling of its class, which outlives a renaming."""
    if isinstance(error, DLAError | DLAWarning | SweepWarning):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), "defect")


def _remedy(text: str) -> str:
    """The sentences from the first that says what to do; where none begins so, the last, which says what is right."""
    found = _REMEDY.search(text) or _REMEDY_IN_SENTENCE.search(text)
    return text[found.start() :] if found else _SENTENCE.split(text)[-1]
