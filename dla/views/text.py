"""Text from models and corpora, as it may be shown: nothing in it is a command to a terminal or a browser."""

import re
import unicodedata

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Categories of characters that steer instead of showing something: C0 and C1 controls (with them every ANSI and OSC
sequence), bidi and other format characters, lone surrogates, characters that are not assigned, line separators."""

_JOINERS = "\u200c\u200d"
"""Format characters that whole scripts and emoji need."""

_HARMLESS = re.compile(r"[ -~]*")


def as_text(text: str) -> str:
    r"""A text with what cannot be seen written as an escape, such as `\x1b` or `\u202e`. Other text is as it was.

    Whoever shows text that the library did not make lets it pass through here: labels, tokens, names of directions,
    prompts, paths. (Markup of rich is no text: pass `rich.text.Text`, or `markup=False`; in HTML escape what it gives.)
    """
    if _HARMLESS.fullmatch(text):
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSEEN and c not in _JOINERS else c for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
