"""A text whose tokens have colours: in a notebook, and on a terminal."""

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from rich.text import Text

from dla.text import as_text
from dla.views.grid import signed
from dla.views.palette import NEGATIVE, POSITIVE, colour_of, mark_of
from dla.views.text import as_html

_STRONGEST = 0.6  # how opaque the largest value's colour is: the page's own ink stays readable on it, light or dark
_FAINT, _MARKED = 0.06, 0.5  # shares of the largest value: from where a terminal has a colour, and a mark besides
_GREY = (96, 96, 96)  # what weak colours of a terminal are mixed with, whose own ground is not known
_SPECIAL = re.compile(r"<[^<>\s]{1,40}>|\[[A-Z]{2,10}\]|id:\d+")
_BREAK, _ON_COLOUR = "↵", "#ffffff"

SHARED = "·"
"""What stands for a token whose letter the next one completes."""


@final
@dataclass(frozen=True)
class MarkedToken:
    """A token of a text.

    Attributes:
        text: The token.
        value: What its colour is for; None where nothing is asked about it.
        told: What the pointer shows.
    """

    text: str
    value: float | None = None
    told: str = ""


def marked_html(title: str, texts: Sequence[Sequence[MarkedToken]]) -> str:
    """Texts in a notebook: no script, the ink and the ground of its page.

    Args:
        title: What stands above.
        texts: The tokens of each; all have one scale of colours.
    """
    values = _values(texts)
    look = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.9;text-align:start;margin:.2em 0"
    shown = "".join(
        f'<div dir="{_direction(tokens)}" style="{look}">'
        f"{''.join(f'{gap}{_span(token, _largest(values))}' for gap, token in _spaced(tokens))}</div>"
        for tokens in texts
    )
    head = f'<div style="opacity:.75">{as_html(title)}</div>'
    return f'<div style="max-width:60em">{head}{shown}{_legend(values)}</div>'


def marked_rich(title: str, texts: Sequence[Sequence[MarkedToken]]) -> Text:
    """The same on a terminal, where strong tokens have a mark too, for who sees no colours."""
    largest, text = _largest(_values(texts)), Text(as_text(title), style="bold")
    for tokens in texts:
        text.append("\n")
        for gap, token in _spaced(tokens):
            strength, colour = _strength(token.value, largest), colour_of(token.value or 0.0)
            style = "not bold dim" if token.value is None else "not bold"
            ground = f"not bold {_ON_COLOUR} on {_mixed(colour, strength)}"
            words = "\n".join(map(as_text, _lines(token.text)))
            text.append(gap).append(words, ground if strength > _FAINT else style)
            text.append(mark_of(token.value or 0.0) if strength > _MARKED else "", f"not bold {colour}")
    return text


def _span(token: MarkedToken, largest: float) -> str:
    words = "\n".join(map(as_html, _lines(token.text)))
    looks = ["opacity:.55"] if token.value is None else ["border-radius:3px", "box-shadow:inset 1px 0 #8a8a8a80"]
    if _SPECIAL.fullmatch(token.text):
        looks.append("font-family:monospace;font-size:.85em")
    strength = _strength(token.value, largest)
    if strength:
        looks.append(f"background:{_faded(colour_of(token.value or 0.0), _STRONGEST * strength)}")
    told = f' title="{as_html(token.told)}"' if token.told else ""
    return f'<span style="{";".join(looks)}"{told}>{words}</span>'


def _legend(values: Sequence[float]) -> str:
    largest = _largest(values)
    below, above = min(values, default=0.0) < 0, max(values, default=0.0) > 0
    ends = [*([-largest] if below else []), 0.0, *([largest] if above else [])]
    if len(ends) < 2:
        return ""
    stops = ",".join(_faded(NEGATIVE if end < 0 else POSITIVE, _STRONGEST if end else 0.0) for end in ends)
    look = "display:inline-block;width:6em;height:.7em;border:1px solid #8a8a8a80"
    bar = f"{look};background:linear-gradient(90deg,{stops})"
    first, last = (f"{end:+.2f}" if end else "0" for end in (ends[0], ends[-1]))
    return f'<div dir="ltr" style="font-size:.85em;opacity:.75">{first} <span style="{bar}"></span> {last}</div>'


def _spaced(tokens: Sequence[MarkedToken]) -> Iterator[tuple[str, MarkedToken]]:
    """Each token, and the space in front of it where a tokenizer's tokens are words without their spaces."""
    own = any(token.text.startswith(" ") for token in tokens)
    for before, token in pairwise([MarkedToken(""), *tokens]):
        meet = before.text[-1:].isascii() and before.text[-1:].isalnum() and token.text[:1].isalnum()
        yield " " if meet and not own else "", token


def _lines(text: str) -> list[str]:
    """A token's lines; each that ends in it shows that it does."""
    *ended, last = text.split("\n")
    return [*(f"{line}{_BREAK}" for line in ended), last]


def _values(texts: Sequence[Sequence[MarkedToken]]) -> list[float]:
    given = (token.value for tokens in texts for token in tokens)
    return [value for value in given if value is not None and math.isfinite(value)]


def _largest(values: Sequence[float]) -> float:
    return max(map(abs, values), default=0.0) or 1.0


def _strength(value: float | None, largest: float) -> float:
    return 0.0 if value is None or not math.isfinite(value) else min(1.0, abs(value) / largest)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _faded(colour: str, alpha: float) -> str:
    return f"rgba({','.join(map(str, _rgb(colour)))},{alpha:.3f})"


def _mixed(colour: str, strength: float) -> str:
    pairs = zip(_rgb(colour), _GREY, strict=True)
    return "#" + "".join(f"{round(strength * full + (1 - strength) * grey):02x}" for full, grey in pairs)


def _direction(tokens: Sequence[MarkedToken]) -> str:
    """Where a text begins: at the right, where most of its letters are of such a script."""
    kinds = [unicodedata.bidirectional(c) for token in tokens if not _SPECIAL.fullmatch(token.text) for c in token.text]
    return "rtl" if sum(kind in ("R", "AL") for kind in kinds) > sum(kind == "L" for kind in kinds) else "ltr"


def told_of(position: int, token: str, what: str, value: float) -> str:
    """What the pointer shows of a token.

    Args:
        position: Where it is.
        token: The token.
        what: What the value is.
        value: The value.
    """
    return f"{position} {token!r}: {what} {signed(value)}"
