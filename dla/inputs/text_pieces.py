"""The text of a prompt, cut where its tokens meet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

_HALF = "\N{REPLACEMENT CHARACTER}"
"""What stands for a piece of a letter that no other token completes."""


@final
@dataclass(frozen=True)
class TextPiece:
    """Tokens whose text stands alone: one, or several that share a letter.

    Attributes:
        text: Their text, as it stands in the whole.
        first: The position of the first of them.
        stop: The position after the last.
    """

    text: str
    first: int
    stop: int


def text_pieces(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[TextPiece]:
    """The pieces of a text, whose texts in a row are the whole.

    A token alone may have another text than in its place (a space in front, half a letter), so each is read behind the
    piece before it.

    Args:
        ids: The tokens.
        decode: From several tokens to their text.
    """
    found: list[TextPiece] = []
    before = ""
    for i in range(len(ids)):
        first = found[-1].stop if found else 0
        context = found[-1].first if found else 0
        text = decode(ids[context : i + 1])
        if not text.startswith(before) or (text.endswith(_HALF) and i + 1 < len(ids)):
            continue  # the next token belongs to the same letter
        found.append(TextPiece(text[len(before) :], first, i + 1))
        before = decode(ids[first : i + 1])
    if (found[-1].stop if found else 0) < len(ids):
        last = found[-1].stop if found else 0
        found.append(TextPiece(decode(ids[last:]), last, len(ids)))
    return found
