"""Text that the library did not make, made safe to show: nothing in it is a command to a terminal or a browser."""

import re
import unicodedata
from collections.abc import Iterable

# Categories of characters that control the display: C0 and C1 controls (with them every ANSI and OSC sequence), bidi
# and other format characters, lone surrogates, characters that are not assigned, line separators.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # format characters that whole scripts and emoji need

_HARMLESS = re.compile(r"[ -~]*")
_LONGEST = 80


def as_text(text: str) -> str:
    r"""A text with invisible characters written as escapes, such as `\x1b` or `\u202e`.

    All text that the library did not make is shown through this function: labels, tokens, names of directions, prompts,
    paths. (It does not escape markup: pass `rich.text.Text` or `markup=False` to rich, and see `dla.views.text`.)
    """
    if _HARMLESS.fullmatch(text):
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSEEN and c not in _JOINERS else c for c in text)


def shortened(text: str, longest: int = _LONGEST) -> str:
    """A text made safe to show, without its middle if it is too long."""
    # Cut before it is escaped as well: a text may have millions of characters.
    half = longest // 2 - 2
    text = as_text(text if len(text) <= 2 * longest else f"{text[:longest]}{text[-longest:]}")
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"


def some_of(names: Iterable[object], most: int = 4) -> str:
    """The first of some names, and how many more there are."""
    every = list(names)
    first = ", ".join(shortened(str(name)) for name in every[:most])
    return first if len(every) <= most else f"{first}, and {len(every) - most} more"


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
